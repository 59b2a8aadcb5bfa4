"""The thread that loads models, so that the worker's loop goes on with those that are there."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time

from cupola.scheduler.protocol.tasks import LocalModel
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import Backend

logger = logging.getLogger(__name__)


class Loader:
    """Loads one model after the other. The end of each load wakes the loop."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._requested: queue.SimpleQueue[LocalModel] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[tuple[str, Backend | Exception]] = queue.SimpleQueue()
        self.pending = 0  # loads whose ends have not been taken
        self.wake, self._waker = socket.socketpair()
        self.wake.setblocking(False)
        threading.Thread(target=self._serve, daemon=True, name="loader").start()

    def load(self, model: LocalModel) -> None:
        self.pending += 1
        self._requested.put(model)

    def _serve(self) -> None:
        while True:
            model = self._requested.get()
            # Not kept in a variable here: it would hold the model until the next is loaded.
            self.ended.put((model.id, self._load(model)))
            self._wake()

    def _wake(self) -> None:
        """Wake the loop. May be called from any thread."""
        self._waker.send(b"\n")

    def _load(self, model: LocalModel) -> Backend | Exception:
        started_at = time.monotonic()
        try:
            backend = load(model, self._options, self._wake)
        except Exception as error:  # a broken file can make the runtime raise anything
            return error
        logger.info("loaded %s in %.1f s", model.id, time.monotonic() - started_at)
        return backend

    def take(self) -> list[tuple[str, Backend | Exception]]:
        """The loads that have ended since the last call."""
        try:
            self.wake.recv(4096)
        except BlockingIOError:
            return []
        ended = []
        while not self.ended.empty():
            ended.append(self.ended.get())
        self.pending -= len(ended)
        return ended
