"""The options of a question as a trie of tokens, and the rows that score it. Pure.

Options that begin alike share the tokens of their beginning. The probability of an option is the
product of the probabilities of its tokens, each behind the ones before it (the chain rule). The
last token of an option is never run: its probability is in the logits of the one before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Stands for all tokens that end a turn of the model. It ends an option that another one may
# continue: else the longer of the two would take a part of its probability.
END = -1

Tokens = tuple[int, ...]
Logprobs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Path:
    """One way down the trie, as it is run behind the question."""

    tokens: Tokens
    known: int  # so many of its nodes have been scored by the paths before it

    @property
    def wanted(self) -> int:
        """How many of the last tokens need logits; the question's last one is the trie's root."""
        return len(self.tokens) + 1 - self.known


class Trie:
    """The options, each of one token or more. Raises ValueError if two are equal."""

    def __init__(self, options: Sequence[Tokens]) -> None:
        if len(set(options)) < len(options) or not all(options):
            raise ValueError("two options have the same tokens, or one has none")
        self.options = tuple(options)
        self.children: dict[Tokens, Tokens] = _children(options)
        self.paths = _paths(self.children)

    def logprobs(self, found: Mapping[Tokens, Logprobs]) -> Logprobs:
        """The log-probability of each option. ``found``: of the children of every node."""
        known = {
            (*node, child): float(value)
            for node, children in self.children.items()
            for child, value in zip(children, found[node], strict=True)
        }
        return np.array([sum(map(known.__getitem__, _beginnings(each))) for each in self.options])


def child_logprobs(logits: NDArray[np.float32], children: Tokens, ends: Sequence[int]) -> Logprobs:
    """Log-probabilities of some tokens by one row of logits ``[vocabulary]``."""
    row = logits.astype(np.float64)
    total = _log_sum(row)
    values = [_log_sum(row[list(ends)]) if child == END else row[child] for child in children]
    return np.array(values) - total


def normalized(logprobs: Logprobs) -> tuple[Logprobs, float]:
    """Log-probabilities among the options alone, and the probability of all options together."""
    total = _log_sum(logprobs)
    return logprobs - total, float(np.exp(total))


def _log_sum(values: Logprobs) -> float:
    highest = values.max()
    return float(highest + np.log(np.exp(values - highest).sum()))


def _children(options: Sequence[Tokens]) -> dict[Tokens, Tokens]:
    """The tokens that may follow each beginning, by the beginning."""
    children = defaultdict[Tokens, dict[int, None]](dict)
    for option in options:
        for end in range(len(option)):
            children[option[:end]][option[end]] = None
    return {node: tuple(after) for node, after in children.items()}


def _paths(nodes: Mapping[Tokens, Tokens]) -> tuple[Path, ...]:
    """Paths that visit every node that has children. Neighbours share as much as they can."""
    order = sorted(nodes)
    pairs = pairwise([*order, ()])
    ends = [node for node, after in pairs if not after or not _begins(after, node)]
    paths = []
    before: Tokens | None = None
    for node in ends:
        known = 0 if before is None else 1 + _common(before, node)
        paths.append(Path(node, known))
        before = node
    return tuple(paths)


def _beginnings(tokens: Tokens) -> Iterator[Tokens]:
    """Of one token, of two, and so on up to all."""
    return (tokens[:end] for end in range(1, len(tokens) + 1))


def _begins(tokens: Tokens, beginning: Tokens) -> bool:
    return tokens[: len(beginning)] == beginning


def _common(one: Tokens, other: Tokens) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
