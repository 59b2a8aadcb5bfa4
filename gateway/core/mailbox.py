"""A queue for one reader, who takes all items at once.

``asyncio.Queue`` wakes its reader for each item. Here a late reader gets all items together, so a
busy gateway writes to its clients less often.
"""

from __future__ import annotations

import asyncio
import math
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Unbounded, in order, for one reader in the loop that calls ``put``."""

    __slots__ = ("_items", "_overdue", "_timer", "_waiter")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None
        self._overdue = 0.0  # when the reader that waits has waited for long enough
        self._timer: asyncio.TimerHandle | None = None

    def put(self, item: T) -> None:
        self._items.append(item)
        self._wake()

    async def take(self, max_wait: float | None = None) -> list[T]:
        """Wait for an item and return all, oldest first.

        Empty if none came for ``max_wait`` seconds; None waits for ever. If the call is cancelled,
        no item is lost.
        """
        if not self._items:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            self._overdue = math.inf if max_wait is None else loop.time() + max_wait
            self._wake_in_time(loop)
            try:
                await self._waiter
            finally:
                self._waiter = None
        items, self._items = self._items, []
        return items

    def close(self) -> None:
        """Nobody takes anything any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_in_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer serves many waits: most of them end before it."""
        if self._overdue == math.inf or (self._timer and self._timer.when() <= self._overdue):
            return
        self.close()
        self._timer = loop.call_at(self._overdue, self._on_time, loop)

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if loop.time() >= self._overdue:
            self._wake()
        else:
            self._wake_in_time(loop)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
