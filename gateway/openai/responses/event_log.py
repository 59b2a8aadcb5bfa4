"""The events of a response in the background, for all who read its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

IDLE = 15.0  # seconds without an event after which a reader gets an empty batch


class EventLog:
    """``frames``: the events so far, by their sequence number. ``stored``: how many are kept."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.stored = 0
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def unstored(self) -> list[bytes]:
        return self.frames[self.stored :]

    def add(self, frames: Sequence[bytes]) -> None:
        self.frames += frames
        self._notify()

    def end(self) -> None:
        """Nothing follows."""
        self._ended = True
        self._notify()

    async def follow(self, after: int) -> AsyncGenerator[list[bytes]]:
        """The frames after that number, to the end. A batch holds those that came together."""
        at = after + 1
        while True:
            changed = self._changed
            if batch := self.frames[at:]:
                at += len(batch)
                yield batch
            elif self._ended:
                return
            else:
                try:
                    async with asyncio.timeout(IDLE):
                        await changed.wait()
                except TimeoutError:
                    yield []

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
