"""Keeps what finished sequences have computed, so that prompts that begin like them find it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cupola.workers.device.machine import available_bytes
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.prefix_files import PrefixFiles
from cupola.workers.kv.prefix_memory import BLOCK, PrefixMemory
from cupola.workers.kv.prefix_tree import PrefixTree
from cupola.workers.slots.prefix_store import Fetched, PrefixStore
from cupola.workers.slots.slot_table import Slot

# Of the memory that was free at the beginning, so much is left to others, who may have taken the
# rest meanwhile.
_SPARE = 1 / 8


class PrefixCache:
    """Keeps the tree of beginnings and their memory in step.

    ``store`` writes them to the disk and reads them back; None: nothing is written.
    """

    def __init__(
        self,
        cache: KeyValueCache,
        max_bytes: int,
        available: Callable[[], int] = available_bytes,
        files: PrefixFiles | None = None,
    ) -> None:
        """``cache``: of the rows that sequences run in. ``available``: the machine's free bytes."""
        self._available = available
        self._spare = int(_SPARE * available())
        self._memory = PrefixMemory(cache, max_bytes)
        self.tree = PrefixTree(self._memory.places)
        self.store = PrefixStore(files, self._memory) if files is not None else None
        self.hits = 0  # tokens that were found here

    @property
    def kept_bytes(self) -> int:
        """Bytes of all that is kept in memory."""
        return self.tree.used * self._memory.block_bytes

    def known(self, tokens: Sequence[int], salt: str, *, exact: bool) -> int:
        """How many of the first tokens of a prompt are kept. See ``PrefixTree.match``."""
        return BLOCK * len(self.tree.match(tokens, salt, exact=exact))

    def keep(self, slot: Slot) -> None:
        """Keep what lies in the slot, which is about to be overwritten."""
        grows = self._available() > self._spare
        self.tree.limit = self.tree.places if grows else self.tree.used
        kept = self.tree.keep(slot.tokens[: slot.length], slot.exact, slot.salt)
        if self.store is not None:
            self.store.evicted(kept.evicted)
        for node in kept.written:
            self._memory.save(slot.index, node.depth, node.place)
        if self.store is not None:
            self.store.kept(kept.written)

    def load(
        self,
        slot: Slot,
        tokens: Sequence[int],
        salt: str,
        fetched: Fetched | None = None,
        *,
        exact: bool,
    ) -> None:
        """Copy what is kept of a prompt to its slot, behind what the slot holds of it.

        ``fetched``: what was read from the disk.
        """
        nodes = self.tree.match(tokens, salt, exact=exact)
        if BLOCK * len(nodes) > slot.length:
            self.tree.use(nodes)
            self._memory.load(slot.index, [node.place for node in nodes], slot.length)
            self._loaded(slot, BLOCK * len(nodes), BLOCK * sum(node.exact for node in nodes))
        if fetched is not None and fetched.first * BLOCK <= slot.length < fetched.end:
            self._memory.fill(slot.index, fetched.first, fetched.blocks, slot.length)
            self._loaded(slot, fetched.end, fetched.end)

    def clear(self) -> None:
        """Forget everything in memory and give it back."""
        self.tree = PrefixTree(self._memory.places)
        if self.store is not None:
            self.store.forget_memory()
        self._memory.give_back()

    def _loaded(self, slot: Slot, length: int, exact: int) -> None:
        """The slot holds ``length`` tokens now. Of those, ``exact`` are if all before them were."""
        if slot.exact == slot.length:
            slot.exact = max(slot.exact, exact)
        self.hits += length - slot.length
        slot.length = length
        slot.touched = max(slot.touched, length)
