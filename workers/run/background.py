"""Builds something in a thread of its own, because it only makes things faster."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from cupola.workers.device.machine import release_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


class BackgroundBuild(Generic[T]):
    """A value that is being built.

    ``value`` is None until it is built. It stays None where it cannot be built. Set it to None to
    give the value up.
    """

    def __init__(self, build: Callable[[], T | None], name: str) -> None:
        """Start to build. ``name``: of the value, for the log."""
        self.value: T | None = None
        self._thread = threading.Thread(
            target=_build, args=([build], name, weakref.ref(self)), daemon=True, name=name
        )
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether it has been built or has failed."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Wait until the value is built or has failed."""
        self._thread.join()


def _build(
    build: list[Callable[[], T | None]], name: str, owner: weakref.ref[BackgroundBuild[T]]
) -> None:
    """The thread. It keeps nothing alive: the model may be unloaded meanwhile."""
    try:
        value = build.pop()()
        if (alive := owner()) is not None:
            alive.value = value
        del value, alive
    except Exception as error:  # of whatever kind the runtime raises
        surprising = not isinstance(error, OSError)
        logger.warning("there are no %s: %s", name, error, exc_info=surprising)
    release_memory()  # that the build needed on the way
