"""Makes in a thread of its own what is only faster: nobody waits for it."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from cupola.workers.device.machine import release_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


class InBackground(Generic[T]):
    """``value`` is None until it is made, and where it could not be."""

    def __init__(self, make: Callable[[], T | None], what: str) -> None:
        """``what``: for the log, if ``make`` fails."""
        self.value: T | None = None
        self.making = threading.Thread(
            target=_make, args=([make], what, weakref.ref(self)), daemon=True, name=what
        )
        self.making.start()


def _make(
    make: list[Callable[[], T | None]], what: str, place: weakref.ref[InBackground[T]]
) -> None:
    """Nothing is held here that is not needed: the model may be unloaded meanwhile."""
    try:
        value = make.pop()()
        if (waiting := place()) is not None:
            waiting.value = value
        del value, waiting
    except Exception as error:  # of whatever kind the runtime raises
        surprising = not isinstance(error, OSError)
        logger.warning("there are no %s: %s", what, error, exc_info=surprising)
    release_memory()  # of what was needed on the way
