"""Writes beginnings of prompts to the disk while nothing else is to be done, and reads them back.

Only keys and values that are always the same are written, so that any request may use them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cupola.workers.kv.prefix_files import PrefixFiles, next_digest, root_digest
from cupola.workers.kv.prefix_memory import BLOCK, PrefixMemory
from cupola.workers.kv.prefix_tree import Node, blocks
from cupola.workers.slots.slot_table import Slot

_WORTH_READING = 4  # blocks that memory does not hold
_PIECE = 4  # blocks that are copied for the writer at once
_CLOSING_SECONDS = 2.5  # for what is not written yet when the model goes


@dataclass(frozen=True, slots=True)
class Fetched:
    """Blocks that were read from the disk, of which the first is the block ``first``."""

    first: int
    blocks: list[NDArray[np.generic]]

    @property
    def end(self) -> int:
        """Tokens up to the end of the last block."""
        return BLOCK * (self.first + len(self.blocks))


class PrefixStore:
    """What memory holds is written once: from slots when they are free, or from their blocks."""

    def __init__(self, files: PrefixFiles, memory: PrefixMemory) -> None:
        self._files = files
        self._memory = memory
        self._unwritten: deque[Slot | Node] = deque()
        self._reader = ThreadPoolExecutor(1, "prefix-reader")

    def released(self, slot: Slot) -> None:
        """A sequence has left its slot."""
        if slot.exact >= BLOCK:
            self._unwritten.append(slot)

    def kept(self, nodes: Iterable[Node]) -> None:
        """These blocks have been copied to the memory."""
        self._unwritten.extend(node for node in nodes if node.exact)

    def evicted(self, nodes: Iterable[Node]) -> None:
        """These blocks are about to be overwritten. What the writer cannot take now is lost."""
        for node in nodes:
            if node.exact:
                self._files.put(_digest(node), self._memory.view(node.place))

    def forget_memory(self) -> None:
        """The memory's places hold nothing any more, and others will be there."""
        self._unwritten = deque(item for item in self._unwritten if isinstance(item, Slot))

    def write_some(self) -> bool:
        """Hand a few blocks to the writer. False: there is none, or it is busy."""
        for _ in range(_PIECE):
            if not self._unwritten:
                return False
            item = self._unwritten[0]
            done = self._write_block(item) if isinstance(item, Slot) else self._write(item)
            if done is None:
                return False
            if done:
                self._unwritten.popleft()
        return True

    def fetch(self, tokens: Sequence[int], salt: str, known: int) -> Future[Fetched] | None:
        """Read what the disk has of a prompt behind its ``known`` tokens; None: too little."""
        first = known // BLOCK
        digests = []
        for number, digest in enumerate(_digests(tokens, salt)):
            if number >= first:
                if not self._files.has(digest):
                    break
                digests.append(digest)
        if len(digests) < _WORTH_READING:
            return None
        return self._reader.submit(self._read, first, digests)

    def close(self, slots: Iterable[Slot]) -> None:
        """Write what is not written yet, as far as there is time."""
        deadline = time.monotonic() + _CLOSING_SECONDS
        self._unwritten.extend(slot for slot in slots if slot.running)
        while self._unwritten and time.monotonic() < deadline:
            if not self.write_some() and self._unwritten:
                time.sleep(0.005)  # the writer is busy
        self._files.close(max(0.0, deadline - time.monotonic()))
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _read(self, first: int, digests: list[bytes]) -> Fetched:
        read: list[NDArray[np.generic]] = []
        for digest in digests:
            block = self._memory.empty()
            if not self._files.get(digest, block):
                break
            read.append(block)
        return Fetched(first, read)

    def _write_block(self, slot: Slot) -> bool | None:
        """Write the next block of a slot. True: it has no more; None: the writer is busy."""
        for number, digest in enumerate(_digests(slot.tokens[: slot.exact], slot.salt)):
            if not self._files.has(digest):
                block = self._memory.row_view(slot.index, number)
                return False if self._files.put(digest, block) else None
        return True

    def _write(self, node: Node) -> bool | None:
        """Write a block of the memory. True: it is done; None: the writer is busy."""
        if node.gone:  # others lie in its place
            return True
        return self._files.put(_digest(node), self._memory.view(node.place)) or None


def _digests(tokens: Sequence[int], salt: str) -> Iterator[bytes]:
    """The names of all blocks of tokens."""
    digest = root_digest(salt)
    for key in blocks(tokens):
        digest = next_digest(digest, key)
        yield digest


def _digest(node: Node) -> bytes:
    """The name of a block."""
    unnamed = []
    while node.parent is not None and not node.digest:
        unnamed.append(node)
        node = node.parent
    digest = node.digest or root_digest(node.salt)
    for each in reversed(unnamed):
        digest = each.digest = next_digest(digest, each.tokens)
    return digest
