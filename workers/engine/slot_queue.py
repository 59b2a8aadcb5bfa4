"""The order in which sequences get slots. Pure.

Those come first that had a slot already. Of the others, those of a lower class come first (see
``scheduler.waiting.lane``), then those of the client that was served least.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from cupola.scheduler.waiting.token_counters import TokenCounters
from cupola.workers.engine.sequence import Sequence


class SlotQueue:
    """Of one client and class, sequences stay in the order in which they came."""

    def __init__(self, counters: TokenCounters) -> None:
        """``counters``: what each client has been served."""
        self._counters = counters
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

    def remove_all(self, request_id: str) -> list[Sequence]:
        """Take those of a request out, and return them."""
        found = [sequence for sequence in self if sequence.job.request_id == request_id]
        for sequence in found:
            self.remove(sequence)
        return found

    def in_order(self) -> Iterator[Sequence]:
        """Each that waits, in the order of service, which follows what is served meanwhile.

        Those that were yielded may be removed meanwhile.
        """
        yield from tuple(self._returned)
        left = {key: deque(sequences) for key, sequences in self._new.items()}
        while left:
            key = min(left, key=lambda key: (key[0], self._counters.of(key[1])))
            sequence = left[key].popleft()
            if not left[key]:
                del left[key]
            yield sequence
