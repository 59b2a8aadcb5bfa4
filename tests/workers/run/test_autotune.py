"""Which of several ways is taken. The tests say what a way takes; nothing is measured."""

from __future__ import annotations

from cupola.workers.run.autotune import RETRY, TRIALS, Autotune

BOTH = {"a": 1.0, "b": 1.0}  # and how much work each is


def take(
    autotune: Autotune, seconds: dict[str, float], times: int, kind: str = "kind"
) -> list[str]:
    """The ways that were taken, of those that ``seconds`` has."""
    ways = []
    for _ in range(times):
        ways.append(way := autotune.choose(kind, dict.fromkeys(seconds, 1.0)))
        autotune.observe(kind, way, seconds[way])
    return ways


def test_both_are_tried_and_then_the_faster_one_is_taken() -> None:
    trials = list(BOTH) * TRIALS
    assert take(Autotune(), {"a": 2, "b": 1}, 2 * TRIALS + 9) == [*trials, *["b"] * 9]
    assert take(Autotune(), {"a": 1, "b": 2}, 2 * TRIALS + 9) == [*trials, *["a"] * 9]


def test_a_slow_beginning_does_not_count() -> None:
    autotune = Autotune()
    take(autotune, {"a": 2, "b": 9}, 2)
    take(autotune, {"a": 2, "b": 1}, 2 * TRIALS - 2)
    assert autotune.choose("kind", BOTH) == "b"


def test_the_slower_one_is_tried_again_now_and_then() -> None:
    ways = take(Autotune(), {"a": 1, "b": 2}, 2 * TRIALS + 3 * (RETRY + 1))
    assert ways[2 * TRIALS :] == [*["a"] * RETRY, "b"] * 3


def test_of_several_slower_ones_each_is_tried_again_in_turn() -> None:
    ways = take(Autotune(), {"a": 2, "b": 1, "c": 3}, 3 * TRIALS + 2 * (RETRY + 1))
    assert ways[: 3 * TRIALS] == ["a", "b", "c"] * TRIALS
    assert ways[3 * TRIALS :] == [*["b"] * RETRY, "a", *["b"] * RETRY, "c"]


def test_a_way_that_has_become_slower_is_left_at_once() -> None:
    autotune = Autotune()
    take(autotune, {"a": 1, "b": 2}, 2 * TRIALS)
    assert take(autotune, {"a": 9, "b": 2}, 10) == ["a", *["b"] * 9]


def test_a_way_that_has_become_faster_is_found() -> None:
    autotune = Autotune()
    take(autotune, {"a": 1, "b": 2}, 2 * TRIALS)
    last = take(autotune, {"a": 1, "b": 0.5}, 4 * RETRY)[-RETRY:]
    assert last.count("b") >= RETRY - 1


def test_a_way_that_was_held_up_once_is_found_again_at_the_next_retry() -> None:
    autotune = Autotune()
    take(autotune, {"a": 1, "b": 1.3}, 2 * TRIALS)
    assert take(autotune, {"a": 300, "b": 1.3}, 2) == ["a", "b"]  # its worker was stopped
    again = take(autotune, {"a": 1, "b": 1.3}, 2 * RETRY)
    assert again[RETRY - 1 : -1] == ["a"] * RETRY


def test_kinds_have_nothing_in_common() -> None:
    autotune = Autotune()
    take(autotune, {"a": 1, "b": 2}, 2 * TRIALS, "one")
    trials = list(BOTH) * TRIALS
    assert take(autotune, {"a": 2, "b": 1}, 2 * TRIALS + 3, "other") == [*trials, *["b"] * 3]
    assert take(autotune, {"a": 1, "b": 2}, 3, "one") == ["a"] * 3


def test_a_way_that_is_not_there_is_not_taken_and_keeps_what_is_known() -> None:
    autotune = Autotune()
    take(autotune, {"a": 2, "b": 1}, 2 * TRIALS)
    assert take(autotune, {"a": 2}, 2 * RETRY) == ["a"] * 2 * RETRY
    assert autotune.choose("kind", BOTH) in BOTH
    assert "b" in take(autotune, {"a": 2, "b": 1}, 2)


def test_a_way_that_comes_later_is_tried_then() -> None:
    autotune = Autotune()
    take(autotune, {"a": 2}, 100)
    assert take(autotune, {"a": 2, "b": 1}, TRIALS + 5) == ["b"] * (TRIALS + 5)


def test_a_way_has_lost_once_its_trials_are_over() -> None:
    autotune = Autotune()
    assert not autotune.lost_trials("kind", "b")
    take(autotune, {"a": 1, "b": 2}, 2 * TRIALS - 1)
    assert not autotune.lost_trials("kind", "b")
    take(autotune, {"a": 1, "b": 2}, 1)
    assert autotune.lost_trials("kind", "b") and not autotune.lost_trials("kind", "a")
    assert not autotune.lost_trials("other kind", "b")


def test_a_kind_begins_with_the_times_of_the_likeliest_one_that_is_known() -> None:
    autotune = Autotune()
    take(autotune, {"a": 2, "b": 1}, 2 * TRIALS, "far")
    take(autotune, {"a": 1, "b": 2}, 2 * TRIALS, "near")
    take(autotune, {"a": 2, "b": 1}, 3, "tried too little")
    alike = ("never run", "tried too little", "near", "far")
    assert [autotune.choose("new", BOTH, alike) for _ in range(RETRY)] == ["a"] * RETRY
    assert autotune.choose("new", BOTH, alike) == "b"  # it is tried again, as in any kind
    assert autotune.choose("with a third way", {**BOTH, "c": 1.0}, alike) == "a"
    autotune.observe("with a third way", "a", 1)
    assert autotune.choose("with a third way", {**BOTH, "c": 1.0}, alike) == "b"


def test_a_way_that_is_more_work_must_be_so_much_faster() -> None:
    autotune = Autotune()
    take(autotune, {"a": 3, "b": 2}, 2 * TRIALS)
    assert autotune.choose("kind", {"a": 10, "b": 14}) == "b"
    assert autotune.choose("kind", {"a": 10, "b": 16}) == "a"
