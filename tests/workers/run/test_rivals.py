"""Which of two runners runs what. Fakes: what a run takes is told, not measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from cupola.workers.run.packing import Row
from cupola.workers.run.rivals import FEW, TRIALS, Rivals

LOGITS = np.empty((1, 1), np.float32)


class Fake:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.runs: list[int] = []  # tokens of each
        self.rebuilt = 0

    def run(self, rows: Sequence[Row], logits: np.ndarray) -> float:
        self.runs.append(sum(len(row.tokens) for row in rows))
        return self.seconds

    def rebuild(self) -> None:
        self.rebuilt += 1


class Failing(Fake):
    def run(self, rows: Sequence[Row], logits: np.ndarray) -> float:
        super().run(rows, logits)
        raise RuntimeError("it cannot")


def rivals(many: Fake, few: Fake | None) -> Rivals:
    made = Rivals(many, lambda: few)
    made.wait()
    return made


def row(tokens: int, slot: int = 0) -> Row:
    return Row(slot, 5, [7] * tokens, 1)


@pytest.mark.parametrize(("many_takes", "few_takes"), [(3.0, 2.0), (2.0, 3.0)])
def test_both_are_tried_and_then_the_faster_one_runs(many_takes: float, few_takes: float) -> None:
    many, few = Fake(many_takes), Fake(few_takes)
    both = rivals(many, few)
    took = [both.run([row(2)], LOGITS) for _ in range(2 * TRIALS + 10)]
    assert took[: 2 * TRIALS] == [many_takes, few_takes] * TRIALS
    assert took[2 * TRIALS :] == [min(many_takes, few_takes)] * 10


def test_each_number_of_tokens_has_its_own_trial() -> None:
    many, few = Fake(2), Fake(1)
    both = rivals(many, few)
    for _ in range(2 * TRIALS):
        both.run([row(1)], LOGITS)
    few.seconds = 3  # for more tokens
    for _ in range(2 * TRIALS):
        both.run([row(1, 0), row(2, 1)], LOGITS)
    assert both.run([row(1)], LOGITS) == 3
    assert both.run([row(3)], LOGITS) == 2


def test_many_tokens_are_never_tried() -> None:
    many, few = Fake(2), Fake(1)
    both = rivals(many, few)
    for _ in range(3 * TRIALS):
        both.run([row(1, slot) for slot in range(FEW + 1)], LOGITS)
    assert few.runs == []


def test_what_must_not_differ_is_always_run_by_the_same() -> None:
    many, few = Fake(2), Fake(1)
    both = rivals(many, few)
    steady = Row(1, 5, [7], 1, steady=True)
    for _ in range(3 * TRIALS):
        both.run([steady], LOGITS)
        both.run([row(1), steady], LOGITS)
    assert few.runs == []


def test_who_is_slower_with_one_token_is_given_up() -> None:
    many, few = Fake(1), Fake(2)
    both = rivals(many, few)
    for _ in range(2 * TRIALS):
        both.run([row(1)], LOGITS)
    for _ in range(TRIALS):
        both.run([row(3)], LOGITS)
    assert few.runs == [1] * TRIALS
    both.rebuild()
    assert (many.rebuilt, few.rebuilt) == (1, 0)


def test_until_it_is_made_and_where_there_is_none_the_other_runs_all() -> None:
    many = Fake(1)
    both = rivals(many, None)
    for _ in range(3 * TRIALS):
        both.run([row(1)], LOGITS)
    assert len(many.runs) == 3 * TRIALS


def test_one_that_cannot_be_made_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise OSError("no such file")

    with caplog.at_level(logging.WARNING):
        both = Rivals(many := Fake(1), broken)
        both.wait()
    assert "no such file" in caplog.text
    assert both.run([row(1)], LOGITS) == 1
    assert many.runs == [1]


def test_rows_on_which_it_fails_are_run_by_the_other(caplog: pytest.LogCaptureFixture) -> None:
    many, few = Fake(1), Failing(1)
    both = rivals(many, few)
    with caplog.at_level(logging.ERROR):
        assert [both.run([row(1)], LOGITS) for _ in range(5)] == [1] * 5
    assert few.runs == [1]
    assert many.runs == [1] * 5
    assert "it cannot" in caplog.text


def test_both_are_rebuilt() -> None:
    many, few = Fake(1), Fake(1)
    rivals(many, few).rebuild()
    assert (many.rebuilt, few.rebuilt) == (1, 1)
