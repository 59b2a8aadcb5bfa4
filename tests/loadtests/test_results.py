"""Records of requests, and the figures that are made of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cupola.loadtests.load.results import (
    End,
    Objective,
    Record,
    Results,
    figures,
    notes,
    percentile,
    table,
)

OBJECTIVE = Objective(ttft=1.0, itl=0.2)


def record(name: str = "chat", end: End = End.OK, **values: object) -> Record:
    given: dict[str, object] = {
        "at": 100.0,
        "e2e": 2.0,
        "ttft": 0.5,
        "gaps": [0.1] * 9,
        "tokens": 10,
    }
    return Record.from_json({"name": name, "end": end, **given, **values})


@pytest.mark.parametrize(
    ("values", "keeps"),
    [
        ({}, True),
        ({"ttft": 1.0}, True),
        ({"ttft": 1.01}, False),
        ({"gaps": [0.1] * 9 + [0.3]}, False),
        ({"gaps": [0.1] * 199 + [0.3]}, True),
        ({"gaps": []}, True),
        ({"ttft": None, "gaps": []}, True),  # no stream
        ({"end": End.ERROR}, False),
        ({"end": End.ABORTED}, False),
        ({"end": End.INCOMPLETE}, False),
    ],
)
def test_goodput_is_what_keeps_both_objectives(values: dict[str, object], keeps: bool) -> None:
    assert record(**values).keeps(OBJECTIVE) == keeps  # type: ignore[arg-type]


def test_only_whole_answers_count_in_latencies() -> None:
    bad = [record(end=end, ttft=50.0, e2e=60.0) for end in End if end is not End.OK]
    found = figures([record(), record(), *bad], 10, OBJECTIVE)
    assert found["ttft_p99_ms"] == 500 and found["e2e_p99_ms"] == 2000
    assert (found["ok"], found["error"], found["aborted"], found["incomplete"]) == (2, 1, 1, 1)
    assert found["tokens_s"] == 5  # all text was paid for
    assert found["goodput_s"] == 0.2


def test_what_the_end_of_the_run_has_cut_is_told() -> None:
    """Else a scenario whose requests were all too long looks as if nobody had asked."""
    cut = [record(name="long", end=End.INCOMPLETE, ttft=ttft, e2e=40.0) for ttft in (None, 30.0)]
    (told,) = notes([record(), *cut])
    assert told.startswith("long: 2 cut") and "40 s; 1 of them had no text yet" in told
    assert notes([record(), record(end=End.ABORTED)]) == []
    assert told in table([record(), *cut], OBJECTIVE)


def test_pieces_that_come_together_are_one_moment() -> None:
    """Three tokens of each step, as with draft tokens: a reader waits for steps."""
    steps = record(gaps=[0.00005, 0.00005, 0.0499] * 10 + [0.00005])
    assert steps.pauses == pytest.approx([0.05] * 10)
    assert figures([steps], 1, OBJECTIVE)["itl_p50_ms"] == pytest.approx(50)
    assert record(gaps=[0.0001] * 5).pauses == []


def test_figures_of_nothing_are_not_numbers() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(figures([], 0, OBJECTIVE)["ttft_p50_ms"])
    assert table([], OBJECTIVE) == "No request was made."


def test_percentiles_are_not_rounded() -> None:
    assert [percentile([3, 1, 2, 4, 5], share) for share in (0, 50, 99, 100)] == [1, 3, 5, 5]


def test_records_are_in_the_file_before_the_run_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "requests.jsonl"
    results = Results(path)
    made = [record(), record("agent", End.ERROR, error="no")]
    for each in made:
        results.add(each)
    lines = path.read_text("utf-8").splitlines()
    assert [Record.from_json(json.loads(line)) for line in lines] == made
    results.close()


def test_the_table_has_a_row_a_scenario_and_tells_what_was_wrong() -> None:
    broken = [record(end=End.ERROR, error="status 500: no") for _ in range(3)]
    shown = table([record("agent"), record(counted=False), *broken], OBJECTIVE)
    rows = {line.split()[0]: line.split()[1:3] for line in shown.splitlines()}
    assert (rows["agent"], rows["chat"], rows["all"]) == (["1", "0"], ["1", "3"], ["2", "3"])
    assert "1 answers came without usage" in shown
    assert "3 x status 500: no" in shown
