"""Which of two ways is taken. What a way takes is told, not measured."""

from __future__ import annotations

from cupola.workers.run.autotune import RETRY, TRIALS, Contest


def take(contest: Contest, seconds: tuple[float, float], times: int, kind: str = "a") -> list[int]:
    """The ways that were taken."""
    ways = []
    for _ in range(times):
        ways.append(way := contest.choose(kind))
        contest.observe(kind, way, seconds[way])
    return ways


def test_both_are_tried_and_then_the_faster_one_is_taken() -> None:
    assert take(Contest(), (2, 1), 2 * TRIALS + 9) == [0, 1] * TRIALS + [1] * 9
    assert take(Contest(), (1, 2), 2 * TRIALS + 9) == [0, 1] * TRIALS + [0] * 9


def test_a_slow_beginning_does_not_count() -> None:
    contest = Contest()
    take(contest, (2, 9), 2)
    take(contest, (2, 1), 2 * TRIALS - 2)
    assert contest.choose("a") == 1


def test_the_slower_one_is_tried_again_now_and_then() -> None:
    ways = take(Contest(), (1, 2), 2 * TRIALS + 3 * (RETRY + 1))
    assert ways[2 * TRIALS :] == [*[0] * RETRY, 1] * 3


def test_who_has_become_slower_is_left_at_once() -> None:
    contest = Contest()
    take(contest, (1, 2), 2 * TRIALS)
    assert take(contest, (9, 2), 10) == [0, *[1] * 9]


def test_who_has_become_faster_is_found() -> None:
    contest = Contest()
    take(contest, (1, 2), 2 * TRIALS)
    assert take(contest, (1, 0.5), 4 * RETRY)[-RETRY:].count(1) >= RETRY - 1


def test_kinds_have_nothing_in_common() -> None:
    contest = Contest()
    take(contest, (1, 2), 2 * TRIALS, "a")
    assert take(contest, (2, 1), 2 * TRIALS + 3, "b") == [0, 1] * TRIALS + [1] * 3
    assert take(contest, (1, 2), 3, "a") == [0] * 3
