"""Which worker has read the beginning of a prompt, so that it may have it cached. Pure.

A gateway sends digests of a prompt's beginnings, the longest last. What a worker was sent is
remembered here. That the worker still has it is a guess: it forgets in its own order. A wrong guess
costs nothing but the better place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from cupola.scheduler.records import Peer

MAX_BEGINNINGS = 10_000  # that are remembered at once


class Affinity:
    """The worker that was sent each beginning last."""

    def __init__(self, most: int = MAX_BEGINNINGS) -> None:
        self._most = most
        self._workers: OrderedDict[bytes, Peer] = OrderedDict()  # the one used last comes last

    def __len__(self) -> int:
        return len(self._workers)

    def sent(self, beginnings: Sequence[bytes], worker: Peer) -> None:
        """A worker was given a prompt that begins so."""
        for digest in beginnings:
            self._workers[digest] = worker
            self._workers.move_to_end(digest)
        while len(self._workers) > self._most:
            self._workers.popitem(last=False)

    def known(self, beginnings: Sequence[bytes]) -> dict[Peer, int]:
        """How many of the beginnings each worker has read; who has read none is not there."""
        lengths: dict[Peer, int] = {}
        for length, digest in enumerate(beginnings, 1):
            if (worker := self._workers.get(digest)) is not None:
                lengths[worker] = length
        return lengths

    def lost(self, worker: Peer) -> None:
        """The worker is gone, and what it had with it."""
        self._workers = OrderedDict((d, w) for d, w in self._workers.items() if w != worker)
