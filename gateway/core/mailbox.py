"""A queue for one reader, who takes all items at once.

``asyncio.Queue`` wakes its reader for each item. Here a late reader gets all items together, so a
busy gateway writes to its clients less often.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Unbounded, in order, for one reader in the loop that calls ``put``."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._waiter: asyncio.Future[None] | None = None

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
            timer = None if max_wait is None else loop.call_later(max_wait, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        items, self._items = self._items, []
        return items

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
