"""The one client of all scenarios: it sends a request, reads the stream, and makes a record of it.

It blocks, and runs under locust, which makes sockets and sleeps cooperative.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from reading import Reading, error_text
from results import End, Record

CONNECT_SECONDS = 10
READ_SECONDS = 300  # of silence
SMALL_BUFFER = 4096  # bytes that a slow reader's socket holds, so that the server feels it


class Unreachable(Exception):
    """No connection: nothing was asked."""


class HttpClient:
    """One user's connections to one server. ``report`` gets every record."""

    def __init__(
        self,
        url: str,
        report: Callable[[Record], None],
        *,
        api_key: str = "",
        slow: bool = False,
    ) -> None:
        small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)] if slow else None
        self._url = url
        self._report = report
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            transport=httpx2.HTTPTransport(
                trust_env=False,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                socket_options=small,
            ),
        )

    def close(self) -> None:
        self._http.close()

    def stream(
        self,
        name: str,
        path: str,
        body: Mapping[str, Any],
        *,
        began: float | None = None,
        leave_after: int | None = None,
        pause: float = 0.0,
        fault: Callable[[str, str | None], str | None] = lambda text, reason: None,
    ) -> Reading | None:
        """A streamed answer; None if it did not come whole.

        ``began``: the intended start, on the clock of ``time.perf_counter``. ``leave_after``: so
        many lines are read, then the client hangs up. ``pause``: seconds before each next line.
        ``fault`` judges a whole answer.
        """
        sent = time.perf_counter()
        reading = Reading(sent if began is None else began)
        at = time.time() - (sent - reading.began)
        end = End.INCOMPLETE  # if the run ends within the request
        try:
            with self._http.stream("POST", path, json=body) as response:
                _raise_for(response)
                for number, line in enumerate(response.iter_lines(), 1):
                    reading.line(line, time.perf_counter())
                    if leave_after is not None and number >= leave_after:
                        end = End.ABORTED
                        return None
                    if pause:
                        time.sleep(pause)
            reading.end(time.perf_counter())
            reading.error = reading.error or fault(reading.text, reading.finish_reason)
            end = End.ERROR if reading.error else End.OK
        except (httpx2.HTTPError, httpx2.StreamError, _Refused) as error:
            end = End.ERROR
            reading.error = self._why(error)
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise Unreachable(reading.error) from None
        finally:
            reading.ended = reading.ended or time.perf_counter()
            self._report(Record.of(name, at, sent - reading.began, end, reading))
        return reading if end is End.OK else None

    def call(
        self,
        name: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        began: float | None = None,
    ) -> bool:
        """A plain request, whose answer may be empty. Whether it succeeded."""
        sent = time.perf_counter()
        start = sent if began is None else began
        at, end, why = time.time() - (sent - start), End.INCOMPLETE, None
        try:
            _raise_for(self._http.request(method, path, json=body))
            end = End.OK
        except (httpx2.HTTPError, _Refused) as error:
            end, why = End.ERROR, self._why(error)
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise Unreachable(why) from None
        finally:
            took = time.perf_counter() - start
            self._report(Record(name, at, end, took, waited=sent - start, error=why))
        return end is End.OK

    def models(self) -> list[str]:
        """The ids that the server lists."""
        try:
            response = self._http.get("/v1/models")
            _raise_for(response)
            return [str(model["id"]) for model in response.json()["data"]]
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreachable(self._why(error)) from None
        except (httpx2.HTTPError, _Refused, ValueError, KeyError, TypeError) as error:
            raise Unreachable(
                f"{self._url} does not list its models: {self._why(error)}. Give --model, and see "
                "that the address is one of an OpenAI-compatible server, without /v1."
            ) from None

    def _why(self, error: Exception) -> str:
        match error:
            case _Refused():
                return str(error)
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return f"{self._url} cannot be reached. Start the server, or give another --host."
            case httpx2.TimeoutException():
                return f"the server sent nothing for {READ_SECONDS} s"
            case httpx2.TransportError():
                return f"the connection broke ({type(error).__name__})"
        return f"the answer cannot be read ({type(error).__name__})"


class _Refused(Exception):
    """An answer with a status that is no success."""


def _raise_for(response: httpx2.Response) -> None:
    if response.is_success:
        return
    try:
        response.read()
        said = response.json()
        text = error_text(said.get("error") or said)
    except (ValueError, AttributeError):
        text = response.reason_phrase
    raise _Refused(f"status {response.status_code}: {text}")


def loopback(url: str) -> str:
    """The address without its last slash, if it is one of this machine: an option's type."""
    host = urlsplit(url).hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise ArgumentTypeError(f"{url} is not on this machine: load goes to loopback addresses")
    return url.rstrip("/")
