"""The kind of attention of the sessions that start: onnxruntime reads it from a variable.

The variable is of the whole process, and it counts while a session starts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_UNTILED = "ORT_GQA_DISABLE_FLASH_ATTENTION"


class AttentionVariable:
    """Sessions with the same kind start at once. Those with the other one wait for their end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._starting = 0  # sessions
        self._tiled = True  # all of them
        self._before: str | None = None  # the variable's value, while some start

    @contextmanager
    def starting(self, *, tiled: bool) -> Iterator[None]:
        """Sessions that this thread starts meanwhile have this kind. See ``Device.open``."""
        with self._changed:
            self._changed.wait_for(lambda: not self._starting or self._tiled is tiled)
            if not self._starting:
                self._tiled, self._before = tiled, os.environ.get(_UNTILED)
                os.environ[_UNTILED] = "0" if tiled else "1"
            self._starting += 1
        try:
            yield
        finally:
            with self._changed:
                self._starting -= 1
                if not self._starting:
                    self._restore()
                    self._changed.notify_all()

    def _restore(self) -> None:
        if self._before is None:
            del os.environ[_UNTILED]
        else:
            os.environ[_UNTILED] = self._before


ATTENTION = AttentionVariable()
