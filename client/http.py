"""One request, one reply, with the standard library.

Importing httpx2 takes longer than a whole ``cupola service status`` may take, so it is used only to
stream a chat. Requests for JSON or lines use this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from cupola.client.local_key import headers_for


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


def request(method: str, url: str, path: str, seconds: float | None, body: object = None) -> Reply:
    """One reply. Waits at most ``seconds`` at each step. Raises the errors above."""
    with open_reply(method, url, path, seconds, body) as response:
        return Reply(response.status, response.read())


@contextmanager
def open_reply(
    method: str, url: str, path: str, seconds: float | None, body: object = None
) -> Iterator[HTTPResponse]:
    """A reply to read from while the block runs. ``body`` is sent as JSON unless it is None."""
    connection = _connection(url, seconds)
    try:
        connection.connect()
    except OSError as error:
        raise RefusedError(str(error)) from error
    try:
        headers = headers_for(url)
        if body is None:
            connection.request(method, path, headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            connection.request(method, path, json.dumps(body).encode(), headers)
        yield connection.getresponse()
    except TimeoutError as error:
        raise SilentError(f"no answer within {seconds:g} seconds") from error
    except (HTTPException, OSError) as error:
        raise BrokenReplyError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def address(url: str) -> tuple[str, int]:
    """Host and port of a URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url} is not an http URL")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _connection(url: str, seconds: float | None) -> HTTPConnection:
    host, port = address(url)
    if url.startswith("https:"):
        from cupola.client.certificate import context_for

        return HTTPSConnection(host, port, timeout=seconds, context=context_for(url))
    return HTTPConnection(host, port, timeout=seconds)
