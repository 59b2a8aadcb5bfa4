"""What a model does while nobody uses it yet, so that its first requests are not slow.

It touches memory that the first sequences will write, because the system gives each page when it is
touched first. And it tries the ways to run a step. All is done in short pieces, so that a request
that arrives meanwhile waits for one of them at most.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.run.autotune import TRIALS
from cupola.workers.run.packing import Row
from cupola.workers.run.session import Session

logger = logging.getLogger(__name__)

_POSITIONS = 256  # of each slot that are touched: a prompt and an answer of usual length
_MAX_BYTES = 192 * 2**20  # that are touched in all
_PIECE = 32  # positions of a slot that are touched together
# Sequences that generate together, and prompts of so many tokens, that are run to find out how.
_GENERATING = (16, 8, 4, 2, 1)
_PROMPTS = ((16, 16), (1, 64))
_PAST = 64  # tokens before those that are generated
_WAYS = 2  # beside the first one


class WarmUp:
    """The pieces of work, in order."""

    def __init__(self, session: Session, slots: SlotAllocator) -> None:
        self._session = session
        self._slots = slots
        self._pieces = self._all()

    def step(self) -> bool:
        """Do one piece. False: there is none, or it must wait for what is built meanwhile."""
        return self._session.built and next(self._pieces, False)

    def _all(self) -> Iterator[bool]:
        if not self._session.cache.gives_back:  # then the memory is there already
            return
        yield from self._touch()
        yield from self._run()

    def _touch(self) -> Iterator[bool]:
        slots, cache = self._slots, self._session.cache
        count = min(slots.limit, slots.table.free)
        width = _MAX_BYTES // max(1, cache.bytes_per_token * count)
        width = min(_POSITIONS, slots.positions // (2 * count), width) // _PIECE * _PIECE
        for start in range(0, width, _PIECE):
            for slot in slots.table.slots[:count]:
                if not slot.running and slot.touched <= start:
                    cache.touch(slot.index, start, start + _PIECE)
                    slot.touched = start + _PIECE
                    yield True

    def _run(self) -> Iterator[bool]:
        steps = [(count, 1, _PAST) for count in _GENERATING]
        steps += [(count, width, 0) for count, width in _PROMPTS]
        for count, width, past in steps:
            for _ in range(TRIALS * _WAYS):
                slots = self._empty()[:count]
                if len(slots) < count:
                    break  # real requests try the ways themselves
                try:
                    self._session.run([Row(slot, past, [0] * width, 1) for slot in slots])
                except Exception as error:  # of whatever kind the runtime raises
                    logger.warning("a run without a request failed: %s", error)
                    self._session.rebuild()
                    return
                yield True

    def _empty(self) -> list[int]:
        """The slots that hold nothing. The first requests may have come meanwhile."""
        slots = self._slots.table.slots[: self._slots.limit]
        return [slot.index for slot in slots if not slot.length and not slot.running]
