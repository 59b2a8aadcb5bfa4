"""Which slot a prompt runs in, and what it finds there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.workers.slots.slot_table import WORTH_COPYING, Match, SlotTable, common_prefix


def run(table: SlotTable, prompt: list[int], salt: str = "") -> tuple[int, int]:
    """A sequence that reads its prompt and ends; (slot, tokens it found cached)."""
    match = table.match(prompt[:-1], salt)
    slot = table.take(match)
    table.start(slot, prompt, match, salt)
    table.extend(slot, len(prompt) - match.length)
    table.release(slot)
    return slot.index, match.length


def test_the_lowest_slot_is_taken_first():
    table = SlotTable(3)
    assert run(table, [1, 2, 3]) == (0, 0)
    assert run(table, [7, 8, 9]) == (1, 0)


def test_a_continued_prompt_takes_its_slot_over():
    table = SlotTable(3)
    run(table, [1, 2, 3])
    assert run(table, [1, 2, 3, 4, 5]) == (0, 3)


def test_a_shared_beginning_is_copied_so_that_others_can_use_it_too():
    table = SlotTable(3)
    run(table, [1, 2, 3, 4, 5, 6])
    assert run(table, [1, 2, 3, 9]) == (1, 3)
    assert run(table, [1, 2, 3, 4, 5, 6, 7]) == (0, 6)


def test_the_least_recently_used_slot_is_evicted():
    table = SlotTable(2)
    run(table, [1, 1])
    run(table, [2, 2])
    run(table, [1, 1, 1])
    assert run(table, [3, 3]) == (1, 0)


def test_a_slot_whose_tokens_another_one_holds_is_evicted_first():
    table = SlotTable(4)
    run(table, [0, 1, 1])
    run(table, [5, 5, 5])
    copies = [table.take(Match(table.slots[0], 0)) for _ in range(2)]
    for slot in copies:
        table.start(slot, [5, 5, 5], Match(table.slots[1], 3), "")
    for slot in copies:
        table.release(slot, 3)
    assert table.stale() is copies[0]
    assert [run(table, [number, 7])[0] for number in (7, 8, 9)] == [2, 3, 0]
    assert table.match([5, 5, 5, 5], "").length == 3


def test_what_follows_a_copy_does_not_matter_and_may_serve_the_next_one_in_place():
    table = SlotTable(3)
    run(table, [5, 5, 5])
    copy = table.take(Match(table.slots[0], 0))
    table.start(copy, [5, 5, 5, 7, 8, 9], Match(copy, 6), "")
    table.release(copy, 3)
    assert copy.replaceable
    match = table.match([5, 5, 5, 7, 1], "")
    assert match == (copy, 4)
    assert table.continues(match) and table.take(match) is copy
    assert table.match([5, 5, 5], "") == (table.slots[0], 3)


def test_a_copy_is_made_only_of_much_more_than_can_be_had_in_place():
    table = SlotTable(3)
    many = [5] * 3 + [7] * WORTH_COPYING
    run(table, [*many, 1, 1])
    copy = table.take(Match(table.slots[0], 0))
    table.start(copy, [5, 5, 5, 8], Match(copy, 4), "")
    table.release(copy, 3)
    assert table.match(many[:-1], "").slot is copy
    assert table.match(many, "").slot is table.slots[0]


def test_of_equal_slots_one_is_kept():
    table = SlotTable(3)
    copies = [table.take(Match(table.slots[0], 0)) for _ in range(3)]
    for slot in copies:
        table.start(slot, [5, 5, 5], Match(slot, 3), "")
    for slot in copies:
        table.release(slot, 3)
    assert [slot.replaceable for slot in copies] == [True, True, False]


def test_a_running_slot_is_matched_but_never_taken():
    table = SlotTable(2)
    slot = table.take(table.match([1, 2, 3], ""))
    table.start(slot, [1, 2, 3, 4], Match(slot, 0), "")
    table.extend(slot, 3)
    match = table.match([1, 2, 3, 9], "")
    assert (match.slot, match.length) == (slot, 3)
    assert table.take(match) is not slot
    with pytest.raises(IndexError):
        table.take(table.match([5], ""))


def test_only_what_is_computed_counts():
    table = SlotTable(2)
    slot = table.take(table.match([], ""))
    table.start(slot, [1, 2, 3, 4, 5], Match(slot, 0), "")
    table.extend(slot, 2)
    assert table.match([1, 2, 3, 4], "").length == 2


def test_salts_are_apart():
    table = SlotTable(2)
    run(table, [1, 2, 3], salt="a")
    assert table.match([1, 2], "b").length == 0
    assert table.match([1, 2], "a").length == 2


def test_those_who_want_the_same_bits_find_only_what_has_them():
    """What was computed behind something that may differ may differ, too."""
    table = SlotTable(2)
    slot = table.take(table.match([], ""))
    table.start(slot, [1, 2, 3, 4, 5, 6], Match(slot, 0), "")
    for count, exact in ((2, True), (1, False), (2, True)):
        table.extend(slot, count, exact=exact)
    table.release(slot)
    assert table.match([1, 2, 3, 4, 5], "").length == 5
    assert table.match([1, 2, 3, 4, 5], "", exact=True).length == 2


def test_copies_and_continuations_are_no_more_exact_than_what_they_begin_with():
    table = SlotTable(2)
    slot = table.take(table.match([], ""))
    table.start(slot, [1, 2, 3, 4], Match(slot, 0), "")
    table.extend(slot, 2, exact=True)
    table.extend(slot, 2, exact=False)
    table.release(slot)
    for tokens in ([1, 2, 3, 9], [1, 2, 3, 4, 5]):
        match = table.match(tokens, "")
        taken = table.take(match)
        table.start(taken, tokens, match, "")
        table.extend(taken, len(tokens) - match.length, exact=True)
        table.release(taken)
        assert table.match(tokens, "", exact=True).length == 2


def test_memory_is_counted_until_it_is_given_back():
    table = SlotTable(2)
    run(table, [1, 2, 3])
    run(table, [9, 9])
    assert [slot.touched for slot in table.slots] == [3, 2]
    stale = table.stale()
    assert stale is table.slots[0]
    table.forget(stale)
    assert [slot.touched for slot in table.slots] == [0, 2]
    assert table.match([1, 2], "").length == 0


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_common_prefix_is_the_longest(one: list[int], other: list[int]):
    limit = min(len(one), len(other))
    expected = next((i for i in range(limit) if one[i] != other[i]), limit)
    assert common_prefix(one, other, limit) == expected


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8), max_size=30))
def test_whatever_is_found_is_really_there(prompts: list[list[int]]):
    """Against a plain record of what each slot's rows hold."""
    table = SlotTable(3)
    held: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for prompt in prompts:
        match = table.match(prompt[:-1], "")
        found = held[match.slot.index][: match.length]
        assert found == prompt[: match.length]
        slot = table.take(match)
        held[slot.index] = found + prompt[match.length :]
        table.start(slot, prompt, match, "")
        table.extend(slot, len(prompt) - match.length)
        table.release(slot)


def test_a_slot_that_lends_is_taken_last():
    table = SlotTable(3)
    for tokens in ([1, 2], [3, 4], [5, 6]):
        run(table, tokens)
    nothing = table.match([9], "")
    assert table.take(nothing, lenders={0}).index == 1
    assert table.take(nothing, lenders={0}).index == 2
    assert table.take(nothing, lenders={0}).index == 0
