"""The encoder in a thread of its own, one window at a time.

On a processor several at once would not be faster, and the other models of the worker go on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cupola.workers.device.machine import lower_priority
from cupola.workers.speech.speech_session import SpeechSession
from cupola.workers.speech.window_scheduler import RunningWindow
from cupola.workers.speech.windows import features


class Listening:
    def __init__(self, session: SpeechSession, wake: Callable[[], None]) -> None:
        """``wake`` is called from another thread when a window was heard."""
        self._session = session
        self._wake = wake
        self._thread = ThreadPoolExecutor(1, "encoder", lower_priority)
        self._future: Future[None] | None = None
        self.window: RunningWindow | None = None  # that is being heard

    @property
    def ready(self) -> bool:
        """Whether ``take`` returns something."""
        return self._future is not None and self._future.done()

    def start(self, running: RunningWindow) -> None:
        """``window`` must be None."""
        heard = features(running.request.sound.mel, running.window.frames)
        self.window = running
        self._future = self._thread.submit(self._session.encode, heard, running.slot)
        self._future.add_done_callback(lambda _: self._wake())

    def take(self) -> tuple[RunningWindow, BaseException | None] | None:
        """The window that was heard, and what went wrong with it."""
        if self.window is None or self._future is None or not self._future.done():
            return None
        running, error = self.window, self._future.exception()
        self.window, self._future = None, None
        return running, error
