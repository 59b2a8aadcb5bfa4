"""Builds something in a thread of its own, because it only makes things faster."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from cupola.workers.device.machine import release_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


class BuildOrder:
    """One thing is built at a time, in the order in which they were begun.

    Somebody may wait for a model that is being loaded. So nothing begins to be built meanwhile, and
    the load does not wait for what is being built.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads: deque[threading.Thread] = deque()  # the first one builds, or may be next
        self._loads = 0

    def begin(self, thread: threading.Thread) -> None:
        """Start a thread that builds something in its ``turn``."""
        with self._changed:
            thread.start()
            self._threads.append(thread)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until the calling thread may build, which ends with the context."""
        me = threading.current_thread()
        with self._changed:
            self._changed.wait_for(lambda: self._threads[0] is me and not self._loads)
        try:
            yield
        finally:
            with self._changed:
                self._threads.remove(me)
                self._changed.notify_all()

    @contextmanager
    def load(self) -> Iterator[None]:
        """A model is loaded meanwhile."""
        with self._changed:
            self._loads += 1
        try:
            yield
        finally:
            with self._changed:
                self._loads -= 1
                self._changed.notify_all()


ORDER = BuildOrder()  # of this process


class BackgroundBuild(Generic[T]):
    """A value that is being built.

    ``value`` is None until it is built. It stays None where it cannot be built. Set it to None to
    give the value up.
    """

    def __init__(self, build: Callable[[], T | None], name: str, order: BuildOrder = ORDER) -> None:
        """Start to build. ``name``: of the value, for the log."""
        self.value: T | None = None
        self._build: Callable[[], T | None] | None = build
        self._thread = threading.Thread(
            target=_build, args=(weakref.ref(self), name, order), daemon=True, name=name
        )
        order.begin(self._thread)

    def take(self) -> Callable[[], T | None]:
        """What builds the value. The thread takes it at its turn."""
        build, self._build = self._build, None
        assert build is not None
        return build

    @property
    def ended(self) -> bool:
        """Whether it has been built or has failed."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Wait until the value is built or has failed."""
        self._thread.join()


def _build(owner: weakref.ref[BackgroundBuild[T]], name: str, order: BuildOrder) -> None:
    """The thread. It keeps nothing alive: the model may be unloaded meanwhile."""
    try:
        with order.turn():
            value = _built(owner)
        if (alive := owner()) is not None:
            alive.value = value
        del value, alive
    except Exception as error:  # of whatever kind the runtime raises
        surprising = not isinstance(error, OSError)
        logger.warning("there are no %s: %s", name, error, exc_info=surprising)
    release_memory()  # that the build needed on the way


def _built(owner: weakref.ref[BackgroundBuild[T]]) -> T | None:
    if (alive := owner()) is None:
        return None
    build = alive.take()
    del alive
    return build()
