"""Which beginnings of prompts are kept outside the rows, and in which blocks of memory. Pure.

A beginning is a chain of blocks, each of ``BLOCK`` tokens. Beginnings that are alike share their
blocks, as in a radix tree (SGLang, arXiv 2312.07104). The next block is looked up by its tokens
among those that follow the block before it. So a prompt is found in a time that depends on its own
length only.

When memory is full, the block with the lowest priority that no other one follows is evicted. A
block's priority is what it costs to compute again, plus the priority that had been evicted last
when it was used last (GreedyDual, Young 1994). With equal costs that is the least recently used
one. A block costs more the deeper in a prompt it lies, because attention reads everything before.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cupola.workers.kv.prefix_memory import BLOCK

_DOUBLE = 1000 // BLOCK  # blocks before a block that make it twice as expensive. See ``step_cost``

Tokens = tuple[int, ...]


@dataclass(slots=True, eq=False)
class Node:
    """A block of a beginning. The root of a salt has no tokens and no place."""

    parent: Node | None  # None: it is a root
    tokens: Tokens
    place: int  # of its keys and values in the memory
    depth: int  # blocks before it
    # Its keys and values have the bits that they always have. So have all before it.
    exact: bool
    salt: str = ""  # of a root
    children: dict[Tokens, Node] = field(default_factory=dict)
    priority: float = 0.0
    used_at: int = 0
    gone: bool = False  # it was evicted
    digest: bytes = b""  # of all tokens up to its end and of the salt, once somebody has asked


_Entry = tuple[float, int, int, Node]  # priority, when it was used, a number that differs, block


class Kept(NamedTuple):
    """What the caller does to keep a sequence, in this order."""

    evicted: list[Node]  # their keys and values are still in their places
    written: list[Node]  # keys and values of the sequence must be copied to their places


class PrefixTree:
    """Keeps track of at most ``places`` blocks. The caller copies keys and values."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.limit = places  # how many may be in use now
        self._free = list(range(places - 1, -1, -1))
        self._roots: dict[str, Node] = {}  # by salt; each has children
        # A heap of blocks that none followed. Entries may be outdated.
        self._leaves: list[_Entry] = []
        self._clock = 0
        self._entries = 0
        self._evicted = 0.0  # the highest priority that was evicted

    @property
    def used(self) -> int:
        """How many blocks are kept."""
        return self.places - len(self._free)

    def match(self, tokens: Sequence[int], salt: str, *, exact: bool = False) -> list[Node]:
        """The blocks of the longest beginning of a prompt that is kept.

        ``exact``: only keys and values that are always the same.
        """
        found: list[Node] = []
        node = self._roots.get(salt)
        if node is None:
            return found
        for key in blocks(tokens):
            node = node.children.get(key)
            if node is None or (exact and not node.exact):
                break
            found.append(node)
        return found

    def use(self, nodes: Sequence[Node]) -> None:
        """The blocks of a beginning are used now."""
        self._clock += 1
        for node in nodes:
            node.used_at = self._clock
            node.priority = self._evicted + 1 + node.depth / _DOUBLE
        if nodes:
            self._add_leaf(nodes[-1])

    def keep(self, tokens: Sequence[int], exact: int, salt: str) -> Kept:
        """Keep the whole blocks of ``tokens``, of which the first ``exact`` are exact.

        Only the first blocks are kept if there is no place for more. What is kept already is
        written again only if it was not exact and is now.
        """
        kept = Kept([], [])
        node = root = self._roots.get(salt) or Node(None, (), -1, -1, True, salt)
        path: list[Node] = []
        for depth, key in enumerate(blocks(tokens)):
            is_exact = (depth + 1) * BLOCK <= exact
            child = node.children.get(key)
            if child is None:
                full = self.used >= self.limit
                if full and (leaf := self._evict(node)) is not None:
                    kept.evicted.append(leaf)
                elif full:
                    break
                child = node.children[key] = Node(node, key, self._free.pop(), depth, is_exact)
                kept.written.append(child)
            elif is_exact and not child.exact:
                child.exact = True
                kept.written.append(child)
            path.append(child)
            node = child
        self.use(path)
        if root.children:
            self._roots[salt] = root  # again, if its last block has been evicted meanwhile
        return kept

    def shrink(self, places: int) -> list[Node]:
        """Evict until no more than so many blocks are kept. Returns those that were evicted."""
        evicted: list[Node] = []
        while self.used > places and (leaf := self._evict(None)) is not None:
            evicted.append(leaf)
        return evicted

    def leaves(self) -> Iterator[Node]:
        """The blocks that none follows."""
        below = [*self._roots.values()]
        while below:
            node = below.pop()
            below += node.children.values()
            if not node.children:
                yield node

    def _evict(self, spared: Node | None) -> Node | None:
        """Drop the block with the lowest priority; None if there is none but ``spared``."""
        found, spared_entry = None, None
        while self._leaves and found is None:
            entry = heapq.heappop(self._leaves)
            if not _is_current(entry):
                continue
            if entry[-1] is spared:
                spared_entry = entry
            else:
                found = entry[-1]
        if spared_entry is not None:
            heapq.heappush(self._leaves, spared_entry)
        if found is not None:
            self._evicted = max(self._evicted, found.priority)
            self._drop(found)
        return found

    def _drop(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        del parent.children[node.tokens]
        node.gone = True
        self._free.append(node.place)
        if parent.parent is not None:
            self._add_leaf(parent)
        elif not parent.children:
            del self._roots[parent.salt]

    def _add_leaf(self, node: Node) -> None:
        """Let the block be evicted when its turn comes, if no other one follows it."""
        if node.children:
            return
        if len(self._leaves) > 2 * self.places + 64:
            self._leaves = [entry for entry in self._leaves if _is_current(entry)]
            heapq.heapify(self._leaves)
        self._entries += 1
        heapq.heappush(self._leaves, (node.priority, node.used_at, self._entries, node))


def blocks(tokens: Sequence[int]) -> Iterator[Tokens]:
    """The whole blocks of tokens."""
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        yield tuple(tokens[start : start + BLOCK])


def _is_current(entry: _Entry) -> bool:
    """Whether the block is still there, none follows it, and it has not been used since."""
    node = entry[-1]
    return not node.gone and not node.children and entry[:2] == (node.priority, node.used_at)
