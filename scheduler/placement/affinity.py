"""Which worker has read the beginning of a prompt, so that it may have it cached. Pure.

A gateway sends digests of a prompt's beginnings, the longest last. What a worker was sent is
remembered here, and replaced by what the worker itself tells of what it has read and not forgotten.
That it still has all of it cached is a guess. A wrong guess costs nothing but the better place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from cupola.scheduler.state.records import Peer

MAX_BEGINNINGS = 10_000  # that are remembered at once


class Affinity:
    """The worker that was sent each beginning last."""

    def __init__(self, most: int = MAX_BEGINNINGS) -> None:
        self._most = most
        self._workers: OrderedDict[bytes, Peer] = OrderedDict()  # the one used last comes last
        self._of: dict[Peer, set[bytes]] = {}  # the same by worker

    def __len__(self) -> int:
        return len(self._workers)

    def sent(self, beginnings: Sequence[bytes], worker: Peer) -> None:
        """A worker was given a prompt that begins so."""
        for digest in beginnings:
            self._put(digest, worker)
        self._shorten()

    def told(self, beginnings: Iterable[bytes], worker: Peer) -> None:
        """A worker says what it has read. What another was sent since stays with that one."""
        known = set(beginnings)
        for digest in self._of.get(worker, set()) - known:
            self._drop(digest)
        for digest in known:
            if digest not in self._workers:
                self._put(digest, worker)
        self._shorten()

    def known(self, beginnings: Sequence[bytes]) -> dict[Peer, int]:
        """How many of the beginnings each worker has read; who has read none is not there."""
        lengths: dict[Peer, int] = {}
        for length, digest in enumerate(beginnings, 1):
            if (worker := self._workers.get(digest)) is not None:
                lengths[worker] = length
        return lengths

    def lost(self, worker: Peer) -> None:
        """The worker is gone, and what it had with it."""
        for digest in self._of.pop(worker, set()):
            del self._workers[digest]

    def _put(self, digest: bytes, worker: Peer) -> None:
        if (before := self._workers.get(digest)) is not None:
            self._of[before].discard(digest)
        self._workers[digest] = worker
        self._workers.move_to_end(digest)
        self._of.setdefault(worker, set()).add(digest)

    def _drop(self, digest: bytes) -> None:
        self._of[self._workers.pop(digest)].discard(digest)

    def _shorten(self) -> None:
        while len(self._workers) > self._most:
            self._drop(next(iter(self._workers)))
