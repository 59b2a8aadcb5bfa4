"""A one-reader queue that hands over everything that has come at once.

``asyncio.Queue`` wakes its reader for each item; here a reader that is late gets all of them in one
go, so a busy gateway does its per-write work less often.
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

    async def take(self, patience: float | None = None) -> list[T]:
        """All items, oldest first; waits for one. Empty when none came for ``patience`` seconds."""
        if not self._items:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if patience is None else loop.call_later(patience, self._wake)
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
