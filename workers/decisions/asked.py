"""A question that is being answered, in one order of its options, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.outputs import Scores
from cupola.workers.decisions.trie import Logprobs, Path, Tokens, Trie, child_logprobs, normalized


@dataclass(slots=True, eq=False)
class Asked:
    """``order``: which option stands in each place of the trie."""

    index: int  # of the question in its request
    tokens: list[int]  # behind the shared prompt, up to the place of the answer
    trie: Trie
    order: Sequence[int]
    _found: dict[Tokens, Logprobs] = field(default_factory=dict, init=False)

    @property
    def complete(self) -> bool:
        """Whether every node of the trie has been scored."""
        return len(self._found) == len(self.trie.children)

    @property
    def longest(self) -> int:
        """The most tokens that are run behind the shared prompt."""
        return len(self.tokens) + max(len(path.tokens) for path in self.trie.paths)

    def add(self, path: Path, place: int, logits: NDArray[np.float32], ends: Sequence[int]) -> bool:
        """The logits behind token ``place`` of the path (-1: behind the question's last token).

        False: they are not numbers.
        """
        node = path.tokens[: place + 1]
        children = self.trie.children[node]
        self._found[node] = found = child_logprobs(logits, children, ends)
        return bool(np.isfinite(found).all())

    def probabilities(self) -> tuple[Logprobs, float]:
        """The probability of each option among them, in the question's order, and their mass."""
        logprobs, mass = normalized(self.trie.logprobs(self._found))
        probabilities = np.empty(len(logprobs))
        probabilities[list(self.order)] = np.exp(logprobs)
        return probabilities, mass


def scores(orders: Sequence[Asked]) -> Scores:
    """The result of a question that was asked in several orders: the mean of them."""
    found = [asked.probabilities() for asked in orders]
    mean = np.mean([probabilities for probabilities, _ in found], axis=0)
    with np.errstate(divide="ignore"):  # a probability too small for a float
        logprobs = np.maximum(np.log(mean), _LEAST)
    return Scores(tuple(map(float, logprobs)), float(np.mean([mass for _, mass in found])))


_LEAST = -1e4  # JSON has no infinity
