"""The downloads of a gateway: at most one of a model at a time, in a process of its own.

A client that asks for a model that is being downloaded follows that download. When the last
follower has gone the download is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

from cupola.cache.error_text import without_paths
from cupola.cache.home import Home
from cupola.cache.install.messages import (
    DownloadJob,
    InstallFailed,
    InstallProgress,
    InstallReport,
)
from cupola.cache.install.process import CANCEL_SECONDS, InstallProcess
from cupola.gateway.core.mailbox import Mailbox

logger = logging.getLogger(__name__)


class Downloads:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._running: dict[str, _Download] = {}

    async def follow(self, model_id: str, force: bool) -> AsyncGenerator[list[InstallReport]]:
        """The reports of the download, up to its result; begins it if need be.

        A reader that stops before the end must close the generator (``contextlib.aclosing``).
        """
        download = self._running.get(model_id)
        if download is None or download.ended:
            job = DownloadJob(str(self._home.root), model_id, force)
            download = _Download(InstallProcess.start(job), self._home.root)
            self._running[model_id] = download
            logger.info("downloading %s", model_id)
        reports: Mailbox[InstallReport] = Mailbox()
        download.followers.append(reports)
        try:
            while True:
                batch = await reports.take()
                yield batch
                if not isinstance(batch[-1], InstallProgress):
                    return
        finally:
            download.followers.remove(reports)
            if not download.followers and self._running.get(model_id) is download:
                del self._running[model_id]
                download.cancel()


class _Download:
    """One process, and a thread that reads its reports. Lives in the loop that made it."""

    def __init__(self, process: InstallProcess, folder: Path) -> None:
        self.followers: list[Mailbox[InstallReport]] = []
        self.ended = False
        self._process = process
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._kill_timer: asyncio.TimerHandle | None = None
        # Not asyncio's subprocesses: the loop that zmq needs on Windows has none.
        threading.Thread(target=self._read, daemon=True, name="download").start()

    def cancel(self) -> None:
        """Have it end; does nothing when it has ended."""
        if not self.ended:
            self._process.cancel()
            self._kill_timer = self._loop.call_later(CANCEL_SECONDS, self._process.kill)

    def _read(self) -> None:
        for report in self._process.reports():
            try:
                self._loop.call_soon_threadsafe(self._on_report, report)
            except RuntimeError:
                return  # the loop is closed: the gateway is ending

    def _on_report(self, report: InstallReport) -> None:
        if isinstance(report, InstallFailed):
            logger.warning("the download failed: %s", report.message)
            report = InstallFailed(report.code, without_paths(report.message, self._folder))
        if not isinstance(report, InstallProgress):
            self.ended = True
            if self._kill_timer is not None:
                self._kill_timer.cancel()
        for follower in self.followers:
            follower.put(report)
