"""Which way runs which step. The runners are fakes: the tests say what a run takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cupola.workers.run.autotune import RETRY, TRIALS
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits
from cupola.workers.run.step_runner import StepRunner
from cupola.workers.run.ways import MAX_BLOCK_TOKENS, BlockWeights, OneSession

LOGITS = np.empty((16, 1), np.float32)


class Fake:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.runs: list[int] = []  # tokens of each
        self.rebuilt = 0

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        self.runs.append(sum(len(row.tokens) for row in rows))
        return self.seconds

    def rebuild(self) -> None:
        self.rebuilt += 1


class Failing(Fake):
    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        super().run(rows, logits)
        raise RuntimeError("it cannot")


def stepping(
    whole: Fake, build: Callable[[], Fake | None], copy_limit: int = 10**9
) -> tuple[StepRunner, BlockWeights]:
    blocks = BlockWeights(build)
    blocks.wait()
    return StepRunner(OneSession(whole, copy_limit), blocks), blocks


def row(tokens: int, slot: int = 0) -> Row:
    return Row(slot, 5, [7] * tokens, 1)


@pytest.mark.parametrize(("whole_takes", "blocks_take"), [(3.0, 2.0), (2.0, 3.0)])
def test_both_are_tried_and_then_the_faster_one_runs(
    whole_takes: float, blocks_take: float
) -> None:
    runner, _ = stepping(Fake(whole_takes), lambda: Fake(blocks_take))
    took = [runner.run([row(2)], LOGITS) for _ in range(2 * TRIALS + 10)]
    assert took[: 2 * TRIALS] == [whole_takes, blocks_take] * TRIALS
    assert took[2 * TRIALS :] == [min(whole_takes, blocks_take)] * 10


def test_the_slower_one_is_tried_again() -> None:
    runner, _ = stepping(whole := Fake(2), lambda: Fake(1))
    for _ in range(2 * TRIALS):
        runner.run([row(1)], LOGITS)
    before = len(whole.runs)
    for _ in range(RETRY + 1):
        runner.run([row(1)], LOGITS)
    assert len(whole.runs) == before + 1


def test_each_number_of_tokens_has_its_own_trial() -> None:
    blocks = Fake(1)
    runner, _ = stepping(Fake(2), lambda: blocks)
    for _ in range(2 * TRIALS):
        runner.run([row(1)], LOGITS)
    blocks.seconds = 3  # for more tokens
    for _ in range(2 * TRIALS):
        runner.run([row(1, 0), row(2, 1)], LOGITS)
    assert runner.run([row(1)], LOGITS) == 3
    assert runner.run([row(1, 0), row(2, 1)], LOGITS) == 2


def test_many_tokens_are_never_tried() -> None:
    blocks = Fake(1)
    runner, _ = stepping(Fake(2), lambda: blocks)
    for _ in range(3 * TRIALS):
        runner.run([row(1, slot) for slot in range(MAX_BLOCK_TOKENS + 1)], LOGITS)
    assert blocks.runs == []


def test_reproducible_rows_are_always_run_by_the_same_session() -> None:
    """Also once the blocks are known to be faster."""
    blocks = Fake(1)
    runner, _ = stepping(Fake(2), lambda: blocks)
    for _ in range(2 * TRIALS + 1):
        runner.run([row(1)], LOGITS)
        runner.run([row(1), row(1, 1)], LOGITS)
    before = len(blocks.runs)
    reproducible = Row(1, 5, [7], 1, reproducible=True)
    for _ in range(3 * TRIALS):
        assert runner.run([reproducible], LOGITS) == 2
        assert runner.run([row(1), reproducible], LOGITS) == 2
    assert len(blocks.runs) == before


def test_blocks_that_are_slower_with_one_token_are_dropped() -> None:
    blocks = Fake(2)
    whole = Fake(1)
    runner, way = stepping(whole, lambda: blocks)
    for _ in range(2 * TRIALS):
        assert way.ready
        runner.run([row(1)], LOGITS)
    assert not way.ready
    for _ in range(TRIALS):
        runner.run([row(3)], LOGITS)
    assert blocks.runs == [1] * TRIALS
    runner.rebuild()
    assert (whole.rebuilt, blocks.rebuilt) == (1, 0)


def test_blocks_that_are_slower_with_more_tokens_are_kept() -> None:
    runner, way = stepping(Fake(1), lambda: Fake(2))
    for _ in range(2 * TRIALS):
        runner.run([row(3)], LOGITS)
    assert way.ready


def test_blocks_that_have_won_once_are_kept() -> None:
    blocks = Fake(1)
    runner, way = stepping(Fake(2), lambda: blocks)
    for _ in range(2 * TRIALS):
        runner.run([row(1)], LOGITS)
    blocks.seconds = 9
    for _ in range(3 * RETRY):
        runner.run([row(1)], LOGITS)
    assert way.ready


def test_where_there_are_no_blocks_the_first_way_runs_all() -> None:
    whole = Fake(1)
    runner, _ = stepping(whole, lambda: None)
    for _ in range(3 * TRIALS):
        runner.run([row(1)], LOGITS)
    assert len(whole.runs) == 3 * TRIALS


def test_blocks_that_cannot_be_built_are_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise OSError("no such file")

    whole = Fake(1)
    with caplog.at_level(logging.WARNING):
        runner, _ = stepping(whole, broken)
    assert "no such file" in caplog.text
    assert runner.run([row(1)], LOGITS) == 1
    assert whole.runs == [1]


def test_rows_on_which_a_way_fails_are_run_by_the_first(caplog: pytest.LogCaptureFixture) -> None:
    whole, blocks = Fake(1), Failing(1)
    runner, way = stepping(whole, lambda: blocks)
    with caplog.at_level(logging.ERROR):
        assert [runner.run([row(1)], LOGITS) for _ in range(5)] == [1] * 5
    assert blocks.runs == [1]
    assert whole.runs == [1] * 5
    assert not way.ready
    assert "it cannot" in caplog.text


def test_what_the_first_way_raises_is_raised() -> None:
    blocks = Fake(1)
    runner, way = stepping(Failing(1), lambda: blocks)
    with pytest.raises(RuntimeError, match="it cannot"):
        runner.run([row(1)], LOGITS)
    assert way.ready and blocks.runs == []


def test_long_rows_of_one_token_have_a_run_of_their_own() -> None:
    whole = Fake(1)
    runner, _ = stepping(whole, lambda: None, copy_limit=4)
    assert runner.run([row(1), row(1, 1), row(9, 2)], LOGITS) == 2
    assert whole.runs == [2, 9]


def test_both_are_rebuilt() -> None:
    whole, blocks = Fake(1), Fake(1)
    runner, _ = stepping(whole, lambda: blocks)
    runner.rebuild()
    assert (whole.rebuilt, blocks.rebuilt) == (1, 1)
