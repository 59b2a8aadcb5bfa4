"""The trie of options: what is run, how often, and what it gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.decisions.trie import END, Tokens, Trie, child_logprobs, normalized

VOCABULARY, ENDS = 6, (4, 5)
OPTIONS = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda tokens: (*tokens, END)),
    min_size=2,
    max_size=20,
    unique=True,
)


def _logits(node: Tokens) -> np.ndarray:
    """Some that depend on all tokens before."""
    seed = [len(node), *node]
    return np.random.default_rng(seed).normal(size=VOCABULARY).astype(np.float32)


def _probability(option: Tokens) -> float:
    product = 1.0
    for place, token in enumerate(option):
        weights = np.exp(_logits(option[:place]).astype(np.float64))
        share = weights[list(ENDS)].sum() if token == END else weights[token]
        product *= float(share / weights.sum())
    return product


@given(OPTIONS)
def test_options_have_the_product_of_their_tokens(options: list[Tokens]) -> None:
    trie = Trie(options)
    found = {
        node: child_logprobs(_logits(node), children, ENDS)
        for node, children in trie.children.items()
    }
    expected = [_probability(option) for option in options]
    np.testing.assert_allclose(np.exp(trie.logprobs(found)), expected, rtol=1e-9)
    logprobs, mass = normalized(trie.logprobs(found))
    assert np.exp(logprobs).sum() == pytest.approx(1)
    assert mass == pytest.approx(sum(expected)) and mass <= 1


@given(OPTIONS)
def test_each_node_is_run_once(options: list[Tokens]) -> None:
    trie = Trie(options)
    visited: list[Tokens] = []
    for path in trie.paths:
        visited += [path.tokens[:depth] for depth in range(path.known, len(path.tokens) + 1)]
        assert path.wanted == len(path.tokens) + 1 - path.known
    assert sorted(visited) == sorted(trie.children)
    # What a path shares with the one before it stays in the cache.
    for before, path in zip(trie.paths, trie.paths[1:], strict=False):
        assert before.tokens[: path.known - 1] == path.tokens[: path.known - 1]


def test_single_tokens_need_no_run_behind_the_question() -> None:
    (path,) = Trie([(1,), (2,), (3,)]).paths
    assert (path.tokens, path.wanted) == ((), 1)


@pytest.mark.parametrize("options", [[(1,), (1,)], [(1,), ()]])
def test_options_that_cannot_be_told_apart_are_refused(options: list[Tokens]) -> None:
    with pytest.raises(ValueError, match="same tokens"):
        Trie(options)
