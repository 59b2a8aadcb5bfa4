"""What is kept of prompts that have ended: against a plain record, and in which order it goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.kv.prefix_memory import BLOCK
from cupola.workers.kv.prefix_tree import PrefixTree

PLACES = 6

letters = st.lists(st.integers(0, 1), max_size=5)  # each stands for a block
sequences = st.tuples(letters, st.integers(0, 5 * BLOCK), st.sampled_from(["", "a"]))


def blocks(*numbers: int) -> list[int]:
    """A block of each number."""
    return [number for number in numbers for _ in range(BLOCK)]


def keep(tree: PrefixTree, *numbers: int) -> int:
    """Keep a sequence; how many blocks are written for it."""
    tokens = blocks(*numbers)
    return len(tree.keep(tokens, len(tokens), "").written)


def known(tree: PrefixTree, *numbers: int) -> int:
    """How many blocks of a sequence are kept."""
    return len(tree.match(blocks(*numbers), ""))


@given(st.lists(sequences, max_size=30), sequences)
def test_what_is_found_is_what_was_written(
    kept: list[tuple[list[int], int, str]], asked: tuple[list[int], int, str]
):
    """Places hold what was written last: the salt, all tokens up to there, and if they are exact.

    And memory is never full while there is something to evict.
    """
    tree = PrefixTree(PLACES)
    held: dict[int, tuple[str, tuple[int, ...], bool]] = {}
    for numbers, exact, salt in kept:
        tokens = blocks(*numbers)
        done = tree.keep(tokens, exact, salt)
        for node in done.evicted:
            del held[node.place]
        for node in done.written:
            end = (node.depth + 1) * BLOCK
            held[node.place] = salt, tuple(tokens[:end]), end <= exact
        assert len(held) == tree.used <= PLACES
        found = tree.match(tokens, salt)
        assert len(found) == min(len(numbers), PLACES)
    tokens, salt = blocks(*asked[0]), asked[2]
    everything = set(held.values())
    for wanted in (False, True):
        found = tree.match(tokens, salt, exact=wanted)
        for number, node in enumerate(found, 1):
            begin = tuple(tokens[: number * BLOCK])
            assert held[node.place][:2] == (salt, begin)
            assert held[node.place][2] == node.exact
            assert node.exact or not wanted
        longer = tuple(tokens[: (len(found) + 1) * BLOCK])
        if len(found) < len(asked[0]):
            assert (salt, longer, True) not in everything
            assert wanted or (salt, longer, False) not in everything
    assert len({id(node) for node in tree.leaves()}) <= tree.used
    assert len(tree.shrink(0)) == len(held)
    assert tree.used == 0 and not tree.match(tokens, salt)


def test_what_many_begin_with_is_written_once():
    tree = PrefixTree(PLACES)
    assert keep(tree, 1, 2, 3) == 3
    assert keep(tree, 1, 2, 4) == 1
    assert keep(tree, 1, 2) == 0
    assert tree.used == 4


def test_what_is_not_a_whole_block_is_not_kept():
    tree = PrefixTree(PLACES)
    assert not tree.keep([5] * (BLOCK - 1), BLOCK, "").written
    assert tree.used == 0


def test_the_least_recently_used_goes_first_and_from_its_end():
    tree = PrefixTree(4)
    keep(tree, 1, 2)
    keep(tree, 3, 4)
    tree.use(tree.match(blocks(1, 2), ""))
    keep(tree, 5)
    assert (known(tree, 1, 2), known(tree, 3, 4), known(tree, 5)) == (2, 1, 1)


def test_what_is_dear_to_compute_stays_a_little_longer():
    """The last block of a long prompt was used before a short one, and is worth more."""
    tree = PrefixTree(200)
    long = [7] * 199
    keep(tree, *long)
    keep(tree, 1)
    keep(tree, 2)
    assert (known(tree, *long), known(tree, 1), known(tree, 2)) == (199, 0, 1)


def test_what_nobody_uses_goes_however_dear_it_is():
    tree = PrefixTree(200)
    long = [7] * 190
    keep(tree, *long)
    for number in range(1000, 3000):
        keep(tree, number)
    assert known(tree, *long) < 190


def test_a_block_that_becomes_exact_is_written_again_once():
    tree = PrefixTree(PLACES)
    tokens = blocks(1, 2)
    assert len(tree.keep(tokens, BLOCK, "").written) == 2
    assert len(tree.match(tokens, "", exact=True)) == 1
    assert [node.depth for node in tree.keep(tokens, 2 * BLOCK, "").written] == [1]
    assert len(tree.match(tokens, "", exact=True)) == 2
    assert not tree.keep(tokens, BLOCK, "").written
    assert len(tree.match(tokens, "", exact=True)) == 2
