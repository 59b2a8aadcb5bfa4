"""The one client of all scenarios: it sends a request, reads the stream, and makes a record of it.

It blocks, and runs under locust, which makes sockets and sleeps cooperative.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from cupola.loadtests.load.reading import Reading
from cupola.loadtests.load.results import End, Record
from cupola.loadtests.load.server import (
    TIMEOUT,
    Refused,
    Unreachable,
    model_ids,
    never_connected,
    raise_for,
    why,
)

SMALL_BUFFER = 4096  # bytes that a slow reader's socket holds, so that the server feels it


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
            timeout=TIMEOUT,
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
                if not response.is_success:
                    response.read()
                    raise_for(response)
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
        except (httpx2.HTTPError, httpx2.StreamError, Refused) as error:
            end = End.ERROR
            reading.error = why(self._url, error)
            if never_connected(error):
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
        at, end, told = time.time() - (sent - start), End.INCOMPLETE, None
        try:
            raise_for(self._http.request(method, path, json=body))
            end = End.OK
        except (httpx2.HTTPError, Refused) as error:
            end, told = End.ERROR, why(self._url, error)
            if never_connected(error):
                raise Unreachable(told) from None
        finally:
            took = time.perf_counter() - start
            self._report(Record(name, at, end, took, waited=sent - start, error=told))
        return end is End.OK

    def models(self) -> list[str]:
        """The ids that the server lists."""
        try:
            return model_ids(self._url, self._http.get("/v1/models"))
        except httpx2.HTTPError as error:
            raise Unreachable(why(self._url, error)) from None
