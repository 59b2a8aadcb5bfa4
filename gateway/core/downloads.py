"""The downloads of a gateway: at most one of a model at a time, in a process of its own.

A few run at once, however many are asked for: each takes memory, and a core while it converts. The
others wait for their turn.

A client that asks for a model that is being downloaded follows that download. When the last
follower has gone the download is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

from cupola.cache.error_text import without_paths
from cupola.cache.errors import CacheErrorCode
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


MOST_AT_ONCE = 4


class Downloads:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._running: dict[str, _Download] = {}

    async def follow(self, model_id: str, force: bool) -> AsyncGenerator[list[InstallReport]]:
        """The reports of the download, up to its result; begins it if need be.

        A reader that stops before the end must close the generator (``contextlib.aclosing``).
        """
        download = self._running.get(model_id)
        if download is None or download.ended:
            job = DownloadJob(str(self._home.root), model_id, force)
            download = _Download(job, self._home.root, self._turns)
            self._running[model_id] = download
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

    def __init__(self, job: DownloadJob, folder: Path, turns: asyncio.Semaphore) -> None:
        self.followers: list[Mailbox[InstallReport]] = []
        self.ended = False
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._process: InstallProcess | None = None  # None: it waits for its turn
        self._over = asyncio.Event()
        self._kill_timer: asyncio.TimerHandle | None = None
        self._task = self._loop.create_task(self._run(job, turns))

    def cancel(self) -> None:
        """Have it end; does nothing when it has ended."""
        if self.ended:
            return
        if self._process is None:
            self._task.cancel()
            return
        self._process.cancel()
        self._kill_timer = self._loop.call_later(CANCEL_SECONDS, self._process.kill)

    async def _run(self, job: DownloadJob, turns: asyncio.Semaphore) -> None:
        """The turn ends with the process, also where it was cancelled."""
        if turns.locked():
            self._on_report(InstallProgress("wait"))
        async with turns:
            logger.info("downloading %s", job.model)
            try:
                self._process = InstallProcess.start(job)
            except OSError as error:  # no memory or no descriptors
                text = f"The download could not be started: {error.strerror}; try again later"
                self._on_report(InstallFailed(CacheErrorCode.DISK, text))
                return
            # Not asyncio's subprocesses: the loop that zmq needs on Windows has none.
            reader = partial(self._read, self._process)
            threading.Thread(target=reader, daemon=True, name="download").start()
            await self._over.wait()

    def _read(self, process: InstallProcess) -> None:
        for report in process.reports():
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
            self._over.set()
            if self._kill_timer is not None:
                self._kill_timer.cancel()
        for follower in self.followers:
            follower.put(report)
