"""POST /api/pull: a download, told in Ollama's lines of progress."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from cupola.cache.catalog import ModelVariant, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.install.download import Told
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.error_codes import MODEL
from cupola.gateway.http.errors import SERVER_ERROR, ApiError, unknown_model
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.ollama.answers import OllamaProgress
from cupola.gateway.ollama.body import Named
from cupola.gateway.openapi.described import NDJSON, Operation, Section, post

STEPS = 400  # of a stage: smaller progress is not worth a line
_STAGES = {"check": "verifying sha256 digest", "convert": "converting to onnx"}


class PullLines:
    """Turns what a download tells into lines. Pure."""

    def __init__(self, variant: ModelVariant | None) -> None:
        source = variant.source if variant else None
        self._digest = source.sha256 if source else ""
        self._last: tuple[str, int] = ("", -1)

    def begin(self) -> list[dict[str, Any]]:
        return [{"status": "pulling manifest"}]

    def feed(self, told: Told) -> list[dict[str, Any]]:
        """A line, or nothing."""
        if told.stage == "download":
            line: dict[str, Any] = {"status": f"pulling {self._digest[:12]}".rstrip()}
            line |= {"digest": f"sha256:{self._digest}"} if self._digest else {}
        elif told.stage in _STAGES:
            line = {"status": _STAGES[told.stage]}
        else:
            return []
        step = STEPS * told.amount // told.total if told.total else 0
        status, before = self._last
        if line["status"] == status and step <= before:
            return []
        self._last = (line["status"], step)
        if told.total:
            line |= {"total": told.total, "completed": min(told.amount, told.total)}
        return [line]

    def end(self, error: str) -> list[dict[str, Any]]:
        if error:
            return [{"error": error}]
        return [{"status": "writing manifest"}, {"status": "success"}]


class OllamaPullApi:
    def __init__(self, service: ApiDependencies) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        about = Operation(
            Section.OLLAMA,
            "Download a model",
            "A download goes on while somebody follows it.",
            body=Named,
            answer=OllamaProgress,
            stream=NDJSON,
            errors=(*MODEL, "download_failed"),
        )
        return [post("/api/pull", self.pull, about)]

    async def pull(self, request: Request) -> PullAnswer:
        asked = Named.model_validate_json(await request.body())
        try:
            variant = (await self._service.models.lookup(asked.key)).variant
        except UnknownModelError as unknown:
            raise unknown_model(unknown) from None
        except NotCachedError as missing:
            news = self._service.downloads.follow(missing.variant.id, force=False)
            return PullAnswer(news, PullLines(missing.variant), stream=asked.stream is not False)
        return PullAnswer(_there(), PullLines(variant), stream=asked.stream is not False)


async def _there() -> AsyncGenerator[list[Told]]:
    yield [Told(done=True)]


class PullAnswer:
    """An ASGI response. A client that goes away ends the download if nobody else follows it."""

    def __init__(self, news: AsyncGenerator[list[Told]], lines: PullLines, *, stream: bool) -> None:
        self._news = news
        self._lines = lines
        self._streamed = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_on_disconnect(receive), aclosing(self._news):
            if self._streamed:
                await self._stream(send)
            else:
                await (await self._whole())(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        headers = [
            (b"content-type", NDJSON.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would hold the stream back
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(_piece(self._lines.begin()))
        async for batch in self._news:
            if told := self._told(batch):
                await send(_piece(told))
        await send({"type": "http.response.body", "body": b""})

    async def _whole(self) -> Response:
        last: dict[str, Any] = {}
        async for batch in self._news:
            last = (self._told(batch) or [last])[-1]
        if error := last.get("error"):
            raise ApiError(500, "download_failed", error, kind=SERVER_ERROR)
        return json_answer(last)

    def _told(self, batch: list[Told]) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        for news in batch:
            told += self._lines.end(news.error) if news.done else self._lines.feed(news)
        return told


def _piece(lines: list[dict[str, Any]]) -> Message:
    body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    return {"type": "http.response.body", "body": body, "more_body": True}
