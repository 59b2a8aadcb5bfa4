"""The downloads of a gateway: at most one of a model at a time, in a process of its own.

Whoever asks for a model that is being downloaded follows that download. When the last follower has
gone it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from collections.abc import AsyncGenerator

import msgspec

from cupola.cache.home import Home
from cupola.cache.install.download import Told, command
from cupola.gateway.core.mailbox import Mailbox

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 15.0  # to clear up; then the process is killed
_decode = msgspec.json.Decoder(Told).decode


class Downloads:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._jobs: dict[str, _Job] = {}

    async def follow(self, model_id: str, force: bool) -> AsyncGenerator[list[Told]]:
        """What is told of the download, up to ``done``; begins it if need be.

        Whoever stops reading before the end must close the generator (``contextlib.aclosing``).
        """
        job = self._jobs.get(model_id)
        if job is None or job.ended:
            job = self._jobs[model_id] = _Job(command(self._home, model_id, force))
            logger.info("downloading %s", model_id)
        news: Mailbox[Told] = Mailbox()
        job.followers.append(news)
        try:
            while True:
                batch = await news.take()
                yield batch
                if batch[-1].done:
                    return
        finally:
            job.followers.remove(news)
            if not job.followers and self._jobs.get(model_id) is job:
                del self._jobs[model_id]
                job.cancel()


class _Job:
    """One process, and a thread that reads what it tells. Lives in the loop that made it."""

    def __init__(self, words: list[str]) -> None:
        self.followers: list[Mailbox[Told]] = []
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._killing: asyncio.TimerHandle | None = None
        # Not asyncio's: the loop that zmq needs on Windows has no processes.
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True, name="download").start()

    def cancel(self) -> None:
        """Have it end; does nothing when it has ended."""
        if not self.ended and self._process.stdin is not None:
            self._process.stdin.close()
            self._killing = self._loop.call_later(CANCEL_SECONDS, self._process.kill)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            last = Told()
            for line in lines:
                last = _decode(line)
                if not last.done:
                    self._post(last)
        status = self._process.wait()
        text = f"the download ended unexpectedly ({status}); the service's log has more"
        self._post(last if last.done else Told(done=True, error=text))

    def _post(self, told: Told) -> None:
        try:
            self._loop.call_soon_threadsafe(self._hear, told)
        except RuntimeError:
            return  # the loop is closed: the gateway is ending

    def _hear(self, told: Told) -> None:
        if told.done:
            self.ended = True
            if self._process.stdin is not None:
                self._process.stdin.close()
            if self._killing is not None:
                self._killing.cancel()
        for follower in self.followers:
            follower.put(told)
