"""POST /openai/download: progress as lines of text, then one JSON object in a chunk of its own.

    Total 45.67% Downloading model.onnx.data
    [DONE] All Completed!
    {"success":true,"errorMessage":null,"error":null}

Python reads lines. C# takes what follows the last "{", and with progress only after "[DONE]". JS
and Rust take a piece that *starts* with "{" as the end, so nothing may stick to it: it is sent some
time after the last line. The object is flat and on one line, and has the error under both names.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from cupola.cache.catalog import UnknownModelError
from cupola.cache.errors import CacheErrorCode, NotCachedError
from cupola.cache.install.messages import (
    Installed,
    InstallFailed,
    InstallProgress,
    InstallResult,
)
from cupola.cache.model_address import is_hub_address
from cupola.gateway.core.download_answer import DownloadAnswer, Reports, already
from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.foundry.answers import DownloadEnd
from cupola.gateway.foundry.body import read_download
from cupola.gateway.generation.model_directory import ModelDirectory

STEP = 0.25  # percent: smaller progress is not worth a line
# Where in the whole a stage begins and how much of it it is, in percent.
_STAGES = {"download": (0.0, 70.0), "check": (70.0, 5.0), "convert": (75.0, 25.0)}
_COMPLETED = "[DONE] All Completed!\n"
_FAILED = "[DONE] The download failed.\n"


class ProgressLines:
    """Turns the reports of a download into lines; the percentage never falls. Pure."""

    media_type = "text/plain; charset=utf-8"
    pause = 0.1  # part of the contract

    def __init__(self, file: str = "model.onnx.data") -> None:
        self._file = file
        self._percent = -STEP

    def begin(self) -> bytes:
        return b""

    def progress(self, report: InstallProgress) -> bytes:
        """A line, or nothing."""
        begin, share = _STAGES.get(report.stage, (0.0, 0.0))
        percent = begin + share * report.fraction
        if percent < self._percent + STEP:
            return b""
        return self._line(percent, f" ({report.pace})" if report.pace else "")

    def end(self, result: InstallResult) -> bytes:
        if isinstance(result, InstallFailed):
            return _FAILED.encode()
        return self._line(100.0) + _COMPLETED.encode()

    def trailer(self, result: InstallResult) -> bytes:
        error = result.message if isinstance(result, InstallFailed) else None
        return msgspec.json.encode(DownloadEnd(error is None, error, error))

    def _line(self, percent: float, pace: str = "") -> bytes:
        self._percent = percent
        return f"Total {percent:.2f}% Downloading {self._file}{pace}\n".encode()


class FoundryDownloadApi:
    def __init__(self, models: ModelDirectory, remote: RemoteModels, downloads: Downloads) -> None:
        self._models = models
        self._remote = remote
        self._downloads = downloads

    async def download(self, request: Request) -> DownloadAnswer:
        name, force = read_download(await request.body())
        return DownloadAnswer(await self._reports(name, force), ProgressLines())

    async def _reports(self, name: str, force: bool) -> Reports:
        if self._remote.find(name):
            return already(Installed(name, ""))
        try:
            cached = await self._models.lookup(name)
        except UnknownModelError as unknown:
            if is_hub_address(name):
                return self._downloads.follow(name, force)
            return already(InstallFailed(CacheErrorCode.UNKNOWN_MODEL, str(unknown)))
        except NotCachedError as missing:
            return self._downloads.follow(missing.variant.id, force)
        if force:
            return self._downloads.follow(cached.variant.id, force)
        return already(Installed(cached.variant.id, str(cached.path)))
