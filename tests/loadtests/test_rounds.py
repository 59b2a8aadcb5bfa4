"""Turns of targets, what is kept of them, and what is told, without servers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.loadtests.bench import document, page
from cupola.loadtests.bench import rounds as rounds_module
from cupola.loadtests.bench.estimate import Estimate, Ratio, paired, unpaired
from cupola.loadtests.bench.level import Level, arrivals, closed, open_loop
from cupola.loadtests.bench.rounds import Outcome, Plan, Rounds
from cupola.loadtests.bench.target import Amount, Broken, Turn
from cupola.loadtests.load.results import End, Objective, Record
from cupola.loadtests.load.workloads import Workload, story

LEVELS = (Level(clients=1), Level(clients=4))


class FakeTarget:
    """Makes ``speed`` tokens a second; in turn number ``breaks`` it breaks."""

    model, where = "m", "here"

    def __init__(self, name: str, speed: float, breaks: int = 0, log: list[str] | None = None):
        self.name, self._speed, self._breaks, self._turns = name, speed, breaks, 0
        self._log = [] if log is None else log

    def check(self, workload: Workload) -> None: ...

    def run(
        self,
        workload: Workload,
        level: Level,
        amount: Amount,
        seed: int,
        keep: Callable[[Record], None],
    ) -> Turn:
        self._turns += 1
        self._log.append(self.name)
        end = End.ERROR if self._turns == self._breaks else End.OK
        error = "it burns" if end is End.ERROR else None
        record = Record(
            "story", 0.0, end, 1.0, ttft=0.1, gaps=[0.01], tokens=round(self._speed), error=error
        )
        keep(record)
        if error:
            raise Broken(f"{self.name}: {error}")
        return Turn(1.0, [record])


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "REST_SECONDS", 0.0)


def plan(rounds: int = 3, warm_up: int = 0) -> Plan:
    return Plan(story(8), LEVELS, Amount(), Objective(1, 0.2), rounds, warm_up)


def made(outcome: Outcome, targets: list[str]) -> dict[str, Any]:
    return document.document(
        plan(), outcome, [{"name": n, "where": "", "model": "m"} for n in targets], {}, [], "x", "t"
    )


def test_targets_come_in_the_opposite_order_in_every_second_round() -> None:
    log: list[str] = []
    targets = [FakeTarget("a", 10, log=log), FakeTarget("b", 5, log=log)]
    given_plan = plan(rounds=2, warm_up=1)
    told: list[str] = []
    Rounds(given_plan, targets).run(told.append)
    assert "".join(log) == "ab" + "abba" * len(LEVELS)
    assert len(told) == given_plan.turns(2)


@pytest.mark.parametrize("breaks", [1, 2, 3, 4, 6])
def test_a_target_that_breaks_keeps_its_turns_and_the_others_go_on(breaks: int) -> None:
    kept: list[Record] = []
    targets = [FakeTarget("a", 10), FakeTarget("b", 5, breaks)]
    outcome = Rounds(plan(), targets, lambda *all_: kept.append(all_[-1])).run()
    turns = {
        name: sum(len(row.rounds) for row in outcome.rows if row.target == name) for name in "ab"
    }
    assert turns == {"a": 3 * len(LEVELS), "b": breaks - 1}
    assert outcome.broken == {"b": "b: it burns"} and outcome.errors == {"it burns": 1}
    assert len(kept) == sum(turns.values()) + 1
    text = page.markdown(made(outcome, ["a", "b"]))
    assert "burns. What it did before is kept" in text
    assert all(row["target"] != "b" or row["figures"] for row in made(outcome, ["a", "b"])["rows"])


def test_a_run_is_read_back_and_compared(tmp_path: Path) -> None:
    old = made(Rounds(plan(), [FakeTarget("a", 100)]).run(), ["a"])
    new = made(Rounds(plan(), [FakeTarget("z", 150)]).run(), ["z"])  # of one target: same place
    (tmp_path / "bench.json").write_text(json.dumps(old))
    lines = document.compared(new, document.read(tmp_path / "bench.json"))
    assert lines[0].count("x1.50") == len(LEVELS) and "faster" in lines[0]
    assert len(lines) == 1  # nothing differs
    assert "differ in their machine" in "".join(document.compared(new, old | {"machine": {"a": 1}}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "rows": [{}]}', '{"format": 2}'])
def test_what_is_no_result_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(document.UnreadableError):
        document.read(tmp_path / "x.json")


@given(
    st.lists(st.floats(1, 1000), min_size=1, max_size=12),
    st.floats(0.1, 10),
    st.lists(st.floats(0.5, 2), min_size=12, max_size=12),
)
def test_a_paired_ratio_is_blind_to_drift(
    theirs: list[float], ratio: float, drift: list[float]
) -> None:
    both = [(ratio * b * d, b * d) for b, d in zip(theirs, drift, strict=False)]
    found = paired([a for a, _ in both], [b for _, b in both])
    assert found.value == pytest.approx(ratio)
    if len(theirs) > 1:
        assert found.low == pytest.approx(ratio) and found.high == pytest.approx(ratio)
    else:
        assert math.isnan(found.low) and not found.sure


def test_intervals_are_those_of_the_tables() -> None:
    # Logarithms -0.1, 0 and 0.1: standard error 0.1 / sqrt(3), and 4.303 of them.
    found = paired([math.exp(x) for x in (-0.1, 0.0, 0.1)], [1.0, 1.0, 1.0])
    assert math.log(found.high) == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert not found.sure
    assert unpaired([2.0, 2.0], [1.0, 1.0]) == Ratio(2.0, 2.0, 2.0)
    assert paired([1.0, 4.0], [1.0, 1.0]).text == "x2.00 (too few rounds to say more)"
    assert math.isnan(unpaired([], [1.0]).value) and unpaired([], [1.0]).text == "-"


def test_rounds_without_a_figure_do_not_count() -> None:
    found = Estimate.of([math.nan, 2.0, 1.0, 4.0])
    assert (found.median, found.low, found.high, found.spread) == (2.0, 1.0, 4.0, 1.5)
    assert math.isnan(Estimate.of([math.nan]).median)


def test_levels_are_read() -> None:
    assert closed("1,16") == [Level(clients=1), Level(clients=16)]
    assert [level.label for level in (*open_loop("0.5"), *closed("1,2"))] == [
        "0.5 requests/s", "1 client", "2 clients"
    ]  # fmt: skip
    for wrong in ("", "0", "x", "1,,2", "-1", "100000"):
        with pytest.raises(ValueError):
            closed(wrong)
    for wrong in ("nan", "inf", "0", "-1"):
        with pytest.raises(ValueError):
            open_loop(wrong)


@given(st.floats(0.1, 50), st.floats(0.1, 20), st.integers(0, 40), st.integers(0, 9))
def test_an_open_loop_lasts_its_time_and_has_its_requests(
    rate: float, seconds: float, requests: int, seed: int
) -> None:
    times = list(arrivals(rate, seconds, requests, Random(seed)))
    assert len(times) >= requests
    assert times == sorted(times)
    # Each request but those that were wanted came in time.
    assert all(at < seconds for at in times[requests:])
