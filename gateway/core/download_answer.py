"""The answer to a request for a download: each API writes the same reports in its own lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cupola.cache.install.messages import InstallProgress, InstallReport, InstallResult
from cupola.gateway.http.disconnect import cancelled_on_disconnect

Reports = AsyncGenerator[list[InstallReport]]


class DownloadLines(Protocol):
    """How an API writes reports. Pure; every piece may be empty."""

    media_type: str
    pause: float  # seconds before the trailer

    def begin(self) -> bytes: ...

    def progress(self, report: InstallProgress) -> bytes: ...

    def end(self, result: InstallResult) -> bytes: ...

    def trailer(self, result: InstallResult) -> bytes:
        """The last piece of the body, sent by itself."""


class DownloadAnswer:
    """An ASGI response. A client that goes away ends the download if nobody else follows it.

    ``whole`` makes the one answer of a request that wants no stream.
    """

    def __init__(
        self,
        reports: Reports,
        lines: DownloadLines,
        whole: Callable[[InstallResult], Response] | None = None,
    ) -> None:
        self._reports = reports
        self._lines = lines
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with cancelled_on_disconnect(scope, receive):
            async with aclosing(self._reports):
                if self._whole is None:
                    await self._stream(send)
                else:
                    last: InstallReport | None = None
                    async for batch in self._reports:
                        last = batch[-1]
                    await self._whole(_result(last))(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        headers = [
            (b"content-type", self._lines.media_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_piece(send, self._lines.begin())
        last: InstallReport | None = None
        async for batch in self._reports:
            last = batch[-1]
            await _send_piece(send, self._body(batch))
        await asyncio.sleep(self._lines.pause)
        trailer = self._lines.trailer(_result(last))
        await send({"type": "http.response.body", "body": trailer})

    def _body(self, batch: Sequence[InstallReport]) -> bytes:
        return b"".join(
            self._lines.progress(report)
            if isinstance(report, InstallProgress)
            else self._lines.end(report)
            for report in batch
        )


async def already(result: InstallResult) -> Reports:
    """The reports where nothing has to be downloaded."""
    yield [result]


def _result(last: InstallReport | None) -> InstallResult:
    if last is None or isinstance(last, InstallProgress):
        raise AssertionError("reports end with a result")
    return last


async def _send_piece(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
