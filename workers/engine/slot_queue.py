"""The sequences that wait for a slot, and who gets one. Pure.

Those come first that had a slot already. Of the others, those of a lower class come first (see
``scheduler.waiting.lane``), then those of the client that was served least.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.waiting.token_counters import TokenCounters
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import SlotAllocator


class SlotQueue:
    """Of one client and class, sequences stay in the order in which they came."""

    def __init__(self, counters: TokenCounters, spare: int = 0) -> None:
        """``spare``: so many slots are for clients that run nothing."""
        self._counters = counters
        self._spare = spare
        self._returned: deque[Sequence] = deque()
        self._new: dict[tuple[int, str], deque[Sequence]] = {}  # by class and client

    def __len__(self) -> int:
        return len(self._returned) + sum(map(len, self._new.values()))

    def __iter__(self) -> Iterator[Sequence]:
        """Those that had a slot first. The queue may be changed meanwhile."""
        return iter(tuple(chain(self._returned, *self._new.values())))

    def add(self, sequences: Iterable[Sequence]) -> None:
        """Those of a request."""
        for sequence in sequences:
            if all(client != sequence.client for _, client in self._new):
                self._counters.arrives(sequence.client)
            self._new.setdefault((sequence.rank, sequence.client), deque()).append(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """It had a slot, and is the first to get one again."""
        self._returned.appendleft(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out that waits."""
        if sequence in self._returned:
            self._returned.remove(sequence)
            return
        key = (sequence.rank, sequence.client)
        self._new[key].remove(sequence)
        if not self._new[key]:
            del self._new[key]

    def give_slots(
        self,
        running: list[Sequence],
        slots: SlotAllocator,
        admits: Callable[[Sequence], bool],
    ) -> list[Rejected]:
        """Let sequences run, which are added to ``running``, if ``admits`` is true of them.

        Those whose grammar turned out to be wrong end here. When there is no memory for one, all
        behind it wait as well: else small sequences could pass a large one for ever.
        """
        failed: dict[str, Rejected] = {}
        full = False
        for sequence in self._in_order():
            request_id = sequence.job.request_id
            if not slots.free:
                break
            if request_id in failed:
                continue
            if (error := sequence.refusal) is not None:
                failed[request_id] = error.rejected(request_id)
                self._remove_all(request_id)
                continue
            ready = not full and sequence.admissible and admits(sequence)
            ready = ready and self._has_claim(sequence, running, slots.free)
            full |= ready and not slots.has_room(sequence, running)
            if ready and not full and slots.allocate(sequence, running):
                self.remove(sequence)
                running.append(sequence)
                self._counters.is_next(sequence.client)
                self._counters.charge(sequence.client, prompt=sequence.pending)
        return list(failed.values())

    def _has_claim(self, sequence: Sequence, running: list[Sequence], free: int) -> bool:
        """Whether there are free slots besides the spare ones, or its client is a newcomer."""
        return free > self._spare or all(other.client != sequence.client for other in running)

    def _remove_all(self, request_id: str) -> None:
        for sequence in self:
            if sequence.job.request_id == request_id:
                self.remove(sequence)

    def _in_order(self) -> Iterator[Sequence]:
        """Each that waits, in the order of service, which follows what is served meanwhile."""
        yield from tuple(self._returned)
        left = {key: deque(sequences) for key, sequences in self._new.items()}
        while left:
            key = min(left, key=lambda key: (key[0], self._counters.of(key[1])))
            sequence = left[key].popleft()
            if not left[key]:
                del left[key]
            yield sequence
