"""POST /openai/download: progress as lines of text, then one JSON object in a chunk of its own.

    Total 45.67% Downloading model.onnx.data
    [DONE] All Completed!
    {"success":true,"errorMessage":null,"error":null}

Python reads lines; C# takes what follows the last "{", and with progress only after "[DONE]"; JS
and Rust take a piece that *starts* with "{" as the end, so nothing may stick to it: it is sent some
time after the last line. The object is flat and on one line, and has the error under both names.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from cupola.cache.catalog import UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.install.download import Told
from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.errors import ApiError

PAUSE = 0.1  # seconds between the last line and the object; part of the contract
STEP = 0.25  # percent: smaller progress is not worth a line
HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would put the pieces together
]
_URI = re.compile(r"/models/([^/]+)/versions/(\d+)$")
# Where in the whole a stage begins and how much of it it is, in percent, and which file it makes.
_STAGES = {"download": (0.0, 70.0), "check": (70.0, 5.0), "convert": (75.0, 25.0)}
_COMPLETED = "[DONE] All Completed!\n"
_FAILED = "[DONE] The download failed.\n"


class DownloadEnd(msgspec.Struct, frozen=True, rename="camel"):
    success: bool
    error_message: str | None = None
    error: str | None = None


class ProgressLines:
    """Turns what a download tells into lines; the percentage never falls. Pure."""

    def __init__(self, file: str = "model.onnx.data") -> None:
        self._file = file
        self._percent = -STEP

    def feed(self, told: Told) -> str:
        """A line, or nothing."""
        begin, share = _STAGES.get(told.stage, (0.0, 0.0))
        part = min(1.0, told.amount / told.total) if told.total else 0.0
        percent = begin + share * part
        if percent < self._percent + STEP:
            return ""
        return self._line(percent)

    def end(self, error: str) -> str:
        return _FAILED if error else self._line(100.0) + _COMPLETED

    def _line(self, percent: float) -> str:
        self._percent = percent
        return f"Total {percent:.2f}% Downloading {self._file}\n"


class FoundryDownloadApi:
    def __init__(self, models: ModelDirectory, remote: RemoteModels, downloads: Downloads) -> None:
        self._models = models
        self._remote = remote
        self._downloads = downloads

    async def download(self, request: Request) -> DownloadAnswer:
        name, force = wanted(await request.body())
        if self._remote.find(name):
            return DownloadAnswer(_ended(""))
        try:
            model_id = (await self._models.lookup(name)).variant.id
        except UnknownModelError as unknown:
            return DownloadAnswer(_ended(str(unknown)))
        except NotCachedError as missing:
            return DownloadAnswer(self._downloads.follow(missing.variant.id, force))
        if force:
            return DownloadAnswer(self._downloads.follow(model_id, force))
        return DownloadAnswer(_ended(""))


def wanted(body: bytes) -> tuple[str, bool]:
    """(which model, whether it is downloaded although it is there). Raises ApiError.

    Keys in any case; ``model`` is an object with a Name or a Uri, or in old documents the name.
    """
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError(400, "invalid_json", "The body is not JSON") from None
    if not isinstance(asked, dict):
        raise ApiError(400, "invalid_type", "The body must be a JSON object")
    fields = _folded(asked)
    model = fields.get("model")
    about = _folded(model) if isinstance(model, dict) else {"name": model}
    name = about.get("name") or _name_in(about.get("uri"))
    if not isinstance(name, str) or not name:
        message = "The body needs a model with a Name: {'model': {'Name': '...'}}"
        raise ApiError(400, "missing_required_parameter", message, param="model")
    force = fields.get("force")
    if not isinstance(force, bool | None):
        raise ApiError(400, "invalid_type", "'force' is true or false", param="force")
    return name, bool(force)


def _folded(fields: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in fields.items()}


def _name_in(uri: object) -> str:
    found = _URI.search(uri) if isinstance(uri, str) else None
    return f"{found[1]}:{found[2]}" if found else ""


async def _ended(error: str) -> AsyncGenerator[list[Told]]:
    yield [Told(done=True, error=error)]


class DownloadAnswer:
    """The streamed answer. A client that goes away ends the download if nobody else follows it."""

    def __init__(self, news: AsyncGenerator[list[Told]]) -> None:
        self._news = news

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_on_disconnect(receive), aclosing(self._news):
            await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
            lines, error = ProgressLines(), ""
            async for batch in self._news:
                text = "".join(lines.feed(told) for told in batch if not told.done)
                if batch[-1].done:
                    error = batch[-1].error
                    text += lines.end(error)
                if text:
                    await send(_piece(text.encode(), more=True))
            await asyncio.sleep(PAUSE)
            end = DownloadEnd(not error, error or None, error or None)
            await send(_piece(msgspec.json.encode(end), more=False))


def _piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
