"""One request, one JSON reply, with the standard library.

Importing httpx2 and making a client of it takes longer than a whole `cupola service status` may
take, so the commands that only ask and print use this; what streams uses httpx2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit


class RefusedError(OSError):
    """Nothing listens there."""


class SilentError(OSError):
    """Something listens there and did not answer in time."""


class BrokenReplyError(OSError):
    """What answered does not speak HTTP, or hung up."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes

    def json(self) -> Any:
        """The body's value. Raises ValueError."""
        return json.loads(self.body)


def request(method: str, url: str, path: str, seconds: float) -> Reply:
    """Ask, and wait at most ``seconds`` at each step. Raises the errors above."""
    host, port = address(url)
    connection = HTTPConnection(host, port, timeout=seconds)
    try:
        connection.connect()
    except OSError as error:
        raise RefusedError(str(error)) from error
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Reply(response.status, response.read())
    except TimeoutError as error:
        raise SilentError(f"no answer within {seconds:g} seconds") from error
    except (HTTPException, OSError) as error:
        raise BrokenReplyError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url} is not an http URL")
    return parts.hostname, parts.port or 80
