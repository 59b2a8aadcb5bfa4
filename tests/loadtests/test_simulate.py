"""The capacity simulation: its steps, its accounts, its fit, and what it reads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from cupola.client.commands.main import build
from cupola.client.errors import ClientError
from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount, Turn
from cupola.loadtests.load.results import End, Record
from cupola.loadtests.load.workloads import WORKLOADS, Workload
from cupola.loadtests.simulate import calibration, validation
from cupola.loadtests.simulate.arrivals import Arrival, Sizes, TraceError, poisson, trace
from cupola.loadtests.simulate.capacity import TooMuch, workers_needed
from cupola.loadtests.simulate.cost_model import TOKENS, CostModel, FitError
from cupola.loadtests.simulate.drafts import Drafts, drafts_of, steps_of
from cupola.loadtests.simulate.fit import fit, non_negative
from cupola.loadtests.simulate.request import SimulatedRequest
from cupola.loadtests.simulate.simulation import Failure, Growth, Setup, Simulation
from cupola.loadtests.simulate.spread import BLOCK, STEADY, DrawnRatios, Spread
from cupola.loadtests.simulate.worker import EngineSize, SimulatedWorker

COSTS = CostModel.line(0.006, 0.0008, 2e-6, 1e-7, 0.001, 0.003)
BESIDE = replace(COSTS, intake=0.002, interference=0.003)  # requests are in each other's way
UNHURRIED = EngineSize(itl_seconds=1000)  # what the budget learns makes no difference
RECORDED = Path(__file__).parent / "recorded"
CHAT = Sizes(WORKLOADS["chat"])
UNEVEN = Spread((0.7, 0.9, 1.0, 4.0, 1.1, 0.8, 1.0), (0.5, 1.0, 3.0))


def test_a_request_alone_takes_what_its_steps_take() -> None:
    found = Simulation(Setup(COSTS)).run([Arrival(0.0, 100, 11)]).finished
    prompt = COSTS.step(0, 0, 100, 100 * 99 / 2)
    decode = sum(COSTS.decode(1, 101 + step) for step in range(10))
    (only,) = found
    assert only.first == pytest.approx(prompt + COSTS.overhead)
    assert only.ended == pytest.approx(prompt + decode + COSTS.overhead)


def test_a_known_beginning_is_not_computed_again() -> None:
    (only,) = Simulation(Setup(COSTS)).run([Arrival(0.0, 100, 1, 60)]).finished
    assert only.first == pytest.approx(COSTS.step(0, 0, 40, 40 * 60 + 40 * 39 / 2) + COSTS.overhead)


def test_requests_that_find_the_worker_idle_together_wait_for_each_other() -> None:
    costs = replace(COSTS, intake=0.002)
    found = Simulation(Setup(costs)).run([Arrival(0.0, 20, 1)] * 3 + [Arrival(9.0, 20, 1)]).finished
    together = 3 * 0.002 + costs.step(0, 0, 60, 3 * 190, 3) + costs.overhead
    alone = 0.002 + costs.step(0, 0, 20, 190) + costs.overhead
    assert [one.first - one.arrived for one in found] == pytest.approx([together] * 3 + [alone])


def test_a_request_that_comes_right_behind_another_is_read_with_it() -> None:
    """A later one waits for the end of that step, although the step has not begun."""
    costs = CostModel.line(0.02, 0.001, intake=0.006)
    intake, step = costs.intake, costs.step(0, 0, 20, 0)
    near, far = (
        Simulation(Setup(costs)).run([Arrival(0.0, 20, 1), Arrival(after, 20, 1)]).finished
        for after in (0.001, 0.004)
    )
    both = costs.step(0, 0, 40, 0, 2)
    assert [one.first for one in near] == pytest.approx([2 * intake + both] * 2)
    assert [one.first for one in far] == pytest.approx([intake + step, intake + 2 * step])


def test_the_step_that_runs_while_a_request_comes_in_is_longer() -> None:
    costs = CostModel.line(0.01, 0.0, intake=0.004, interference=0.003)
    requests = [Arrival(0.0, 10, 9), Arrival(0.036, 10, 2), Arrival(0.038, 10, 2)]
    found = sorted(Simulation(Setup(costs)).run(requests).finished)
    # The first one's steps end at 14, 24, 34 ms and, with two requests that come in, at 50 ms.
    ends = [0.014, 0.024, 0.034, 0.050, 0.060, 0.070, 0.080, 0.090, 0.100]
    assert found[0].ended == pytest.approx(ends[8])
    assert [each.first for each in found[1:]] == pytest.approx([ends[4], ends[4]])


def test_a_long_prompt_is_read_in_chunks_of_the_step() -> None:
    size = EngineSize(step_tokens=64)
    (only,) = Simulation(Setup(COSTS, size)).run([Arrival(0.0, 200, 1)]).finished
    parts = [(64, 0), (64, 64), (64, 128), (8, 192)]
    seconds = sum(COSTS.step(0, 0, n, n * start + n * (n - 1) / 2) for n, start in parts)
    assert only.first == pytest.approx(seconds + COSTS.overhead)


requests_of_a_worker = st.lists(
    st.tuples(st.floats(0, 0.4), st.integers(2, 300), st.integers(1, 30)), min_size=1, max_size=8
)


@settings(max_examples=25)
@given(requests_of_a_worker)
def test_many_steps_at_once_are_the_same_as_one_by_one(
    requests: list[tuple[float, int, int]],
) -> None:
    """What joins in the middle of equal steps joins at the end of the one that runs."""
    for costs in (
        COSTS,
        replace(COSTS, intake=0.004),
        replace(COSTS, interference=0.003),
        replace(COSTS, intake=0.002, interference=0.005),
    ):
        for drawn in (STEADY, DrawnRatios(UNEVEN, 1)):
            assert _run(costs, requests, drawn) == pytest.approx(_run(costs, requests, drawn, 1))


def _run(
    costs: CostModel,
    requests: list[tuple[float, int, int]],
    drawn: DrawnRatios,
    most_steps: int = 99,
) -> dict[int, float]:
    worker = SimulatedWorker(UNHURRIED, costs, most_steps, drawn=drawn, place=0.999)
    found = dict[int, float]()
    coming = sorted((at, n, p, t) for n, (at, p, t) in enumerate(requests))
    while coming or worker.busy_until is not None:
        if coming and (worker.busy_until is None or coming[0][0] <= worker.busy_until):
            at, number, prompt, tokens = coming.pop(0)
            worker.add(SimulatedRequest(number, at, prompt, tokens), at)
            continue
        assert worker.busy_until is not None
        now = worker.busy_until
        found |= {request.arrival: now for request in worker.end()}
    return found


def test_requests_alone_take_as_long_as_those_that_were_measured() -> None:
    """And their steps too, in rows as they were measured."""
    costs = replace(COSTS, intake=0.002, spread=UNEVEN)
    arrivals = [Arrival(10.0 * number, 20, 3) for number in range(300)]
    found = sorted(Simulation(Setup(costs)).run(arrivals).finished)
    typical = costs.intake + costs.step(0, 0, 20, 190)
    waits = [one.first - one.arrived - costs.overhead for one in found]
    assert {round(wait / typical, 6) for wait in waits} == set(UNEVEN.waits)
    steps = [costs.decode(1, 21), costs.decode(1, 22)]
    pairs = zip(UNEVEN.steps, [*UNEVEN.steps[1:], UNEVEN.steps[0]], strict=True)
    in_row = {round(first * steps[0] + then * steps[1], 6) for first, then in pairs}
    answers = [round(one.ended - one.first, 6) for one in found]
    # Two ratios are two in a row of those measured, but where a block ends between them.
    assert sum(each in in_row for each in answers) >= (1 - 2 / BLOCK) * len(answers)


def test_a_seed_decides_the_moments() -> None:
    setup = Setup(replace(COSTS, spread=UNEVEN), workers=3)
    once, again, other = (
        Simulation(replace(setup, seed=seed)).run(poisson(CHAT, 4, 100, 1)) for seed in (5, 5, 6)
    )
    assert once.finished == again.finished != other.finished
    assert len(other.finished) == 100


def test_what_comes_in_beside_answers_delays_none_of_them() -> None:
    """It misses the step that begins meanwhile."""
    costs, step = CostModel.line(0.01, 0.0, intake=0.008), 0.01
    requests = [Arrival(0.0, 10, 9), Arrival(0.035, 10, 3), Arrival(0.036, 10, 3)]
    found = sorted(Simulation(Setup(costs)).run(requests).finished)
    began = 0.008
    ends = [began + number * step for number in range(1, 20)]
    assert found[0].ended == pytest.approx(ends[8])
    # 43 and 51 ms: behind the steps that begin at 38 and 48 ms.
    assert [each.first for each in found[1:]] == pytest.approx([ends[4], ends[5]])


def test_draft_tokens_make_fewer_and_longer_steps() -> None:
    costs = replace(CostModel.line(0.01, 0.002), drafts=Drafts(1.5, 1.5))
    (only,) = Simulation(Setup(costs)).run([Arrival(0.0, 10, 10)]).finished
    assert only.first == pytest.approx(costs.step(0, 0, 10, 0))
    assert only.ended - only.first == pytest.approx(6 * (0.01 + 1.5 * 0.002))


events = st.one_of(
    st.builds(Failure, st.floats(0, 30), st.integers(0, 3), st.floats(0.1, 20)),
    st.builds(Growth, st.floats(0, 30), st.integers(1, 3)),
)


@settings(max_examples=25)
@given(
    st.integers(1, 3),
    st.floats(1, 20),
    st.lists(events, max_size=4),
    st.integers(0, 8),
    st.floats(0.5, 60),
    st.integers(0, 20),
)
def test_every_request_ends_once(
    workers: int,
    rate: float,
    happens: list[Failure | Growth],
    queue: int,
    patience: float,
    clients: int,
) -> None:
    setup = Setup(BESIDE, EngineSize(slots=4), workers, queue, patience, tuple(happens))
    found = Simulation(setup).run(poisson(CHAT, rate, 40, 3), clients)
    assert len(found.finished) + found.refused + found.lost == 40
    assert all(0 <= one.arrived <= one.first <= one.ended for one in found.finished)
    assert found.lost == 0 or any(isinstance(event, Failure) for event in happens)


@settings(max_examples=30)
@given(
    st.integers(1, 4),
    st.floats(1, 60),
    st.lists(st.builds(Growth, st.floats(0, 5), st.integers(1, 3)), max_size=2),
    st.integers(0, 12),
    st.floats(0.2, 60),
    st.integers(0, 20),
)
def test_the_index_of_free_slots_decides_as_the_whole_scheduler_does(
    workers: int, rate: float, growth: list[Growth], queue: int, patience: float, clients: int
) -> None:
    """Who is answered when, who is refused, and how many wait when."""
    setup = Setup(BESIDE, EngineSize(slots=3), workers, queue, patience, tuple(growth))
    quick, whole = (
        Simulation(replace(setup, whole=whole)).run(poisson(CHAT, rate, 60, 5), clients)
        for whole in (False, True)
    )
    assert quick.finished == whole.finished
    assert (quick.refused, quick.queue) == (whole.refused, whole.queue)


def test_a_worker_that_comes_shortens_the_queue_and_one_that_goes_lengthens_it() -> None:
    def ttft(*happens: Failure | Growth) -> float:
        setup = Setup(COSTS, workers=2, events=happens)
        return Simulation(setup).run(poisson(CHAT, 6, 400, 1)).figures()["ttft_p99_ms"]

    assert ttft(Growth(10, 2)) < ttft() < ttft(Failure(10, 0, 15))


def test_the_fewest_workers_are_found() -> None:
    setup = Setup(COSTS, EngineSize(slots=4))

    def load() -> Iterator[Arrival]:
        return poisson(CHAT, 12, 150, 2)

    needed, figures = workers_needed(setup, load, 0.6)
    assert figures["ttft_p99_ms"] <= 600
    one_less = Simulation(Setup(COSTS, EngineSize(slots=4), needed - 1)).run(load())
    assert one_less.figures()["ttft_p99_ms"] > 600 or one_less.refused
    with pytest.raises(TooMuch):
        workers_needed(setup, lambda: [Arrival(0.0, 100, 2)], 0.0001)


def line(name: str, round_: int, at: float, first: float, gaps: list[float], prompt: int) -> Any:
    """A line of ``requests.jsonl``."""
    return {
        "target": "a", "clients": 0, "rate": 0, "round": round_, "name": name, "end": "ok",
        "at": 100.0 * round_ + at, "waited": 0.0, "ttft": first - at, "gaps": gaps,
        "tokens": len(gaps) + 1, "prompt_tokens": prompt, "cached_tokens": 0,
        "e2e": first - at + sum(gaps),
    }  # fmt: skip


def lines(costs: CostModel, clients: int, prompt: int, tokens: int, round_: int) -> list[Any]:
    """A turn of a benchmark on a server that has these costs: all come together."""
    deep = clients * prompt * (prompt - 1) / 2
    outside = costs.overhead + clients * costs.intake
    start = outside + costs.step(0, 0, prompt * clients, deep, clients)
    gaps = [costs.decode(clients, clients * (prompt + 1 + n)) for n in range(tokens - 1)]
    one = line("x", round_, 0.0, start, gaps, prompt) | {"clients": clients}
    return [dict(one) for _ in range(clients)]


def beside(costs: CostModel, prompt: int, round_: int) -> list[Any]:
    """A prompt is read while another answer is written. It came in early in the step before."""
    start = costs.overhead + costs.intake + costs.step(0, 0, 30, 30 * 29 / 2)
    alone = [costs.decode(1, 31 + n) for n in range(9)]
    at = start + sum(alone[:-1]) + 0.2 * alone[-1]
    alone[-1] += costs.interference
    joint = costs.step(1, 40, prompt, prompt * (prompt - 1) / 2)
    both = [costs.decode(2, 41 + prompt + 1 + 2 * n) for n in range(9)]
    first = start + sum(alone) + joint
    return [
        line("y", round_, 0.0, start, [*alone, joint, *both], 30),
        line("y", round_, at, first, both, prompt),
    ]


def whole_run(costs: CostModel) -> list[Any]:
    found = [
        line
        for number, (clients, prompt) in enumerate(((1, 30), (2, 30), (4, 300), (8, 30), (16, 90)))
        for line in lines(costs, clients, prompt, 40, number + 1)
    ]
    for number, prompt in enumerate((20, 60, 150, 250, 20, 250)):
        found += lines(costs, 1, prompt, 2, 20 + number)
    for number, prompt in enumerate((10, 40, 70, 100)):
        found += beside(costs, prompt, 40 + number)
    return found


@given(
    st.builds(
        CostModel.line,
        base=st.floats(0.001, 0.02),
        token=st.floats(0.0001, 0.005),
        context=st.floats(1e-7, 1e-5),
        start=st.floats(0, 0.02),
        overhead=st.floats(0, 0.05),
        intake=st.floats(0, 0.01),
        interference=st.floats(0, 0.01),
    )
)
@settings(max_examples=8)
def test_the_costs_of_a_server_are_learnt_from_its_answers(costs: CostModel) -> None:
    found = fit(whole_run(costs))
    for rows, context in ((1, 50), (4, 1200), (16, 2000)):
        assert found.decode(rows, context) == pytest.approx(costs.decode(rows, context), rel=0.05)
    for rows, prompt in ((0, 200), (4, 30), (8, 90)):  # at any place in the prompt
        assert found.step(rows, 50 * rows, prompt, 0) == pytest.approx(
            costs.step(rows, 50 * rows, prompt, 0), rel=0.1
        )
    assert found.interference == pytest.approx(costs.interference, rel=0.1, abs=0.0005)
    for clients in (1, 8):  # that find it idle together
        wait, expected = (
            each.overhead + clients * each.intake + each.step(0, 0, 30 * clients, 0, clients)
            for each in (found, costs)
        )
        assert wait == pytest.approx(expected, rel=0.1)
    assert found.error < 0.05


def test_draft_tokens_are_no_steps_but_make_them_longer() -> None:
    """In each step an answer has three tokens: a new one, a draft that is right, a wrong one."""
    costs = CostModel.line(0.01, 0.002)
    measured = whole_run(costs)
    for number, clients in enumerate((1, 2, 4)):
        one, *_ = lines(costs, clients, 30, 40, 60 + number)
        drafts = {"tokens": 79, "accepted_drafts": 39, "rejected_drafts": 39, "clients": clients}
        for _ in range(clients):
            gaps = [gap for _ in range(39) for gap in (costs.tokens(3 * clients), 0.0)]
            measured.append(one | drafts | {"gaps": gaps})
    found = fit(measured)
    for tokens in (1, 3, 6, 12, 40):
        assert found.tokens(tokens) == pytest.approx(costs.tokens(tokens), rel=0.05)
    assert 1.1 < found.drafts.gain < found.drafts.width < 3  # the other answers had none
    told = [each for each in measured if "accepted_drafts" in each]
    assert drafts_of(told) == Drafts(2, 3)
    assert sum(map(steps_of, told)) == 7 * 39


def test_a_few_slow_moments_do_not_change_the_costs() -> None:
    costs = CostModel.line(0.01, 0.001, 1e-6, 0, 0.005, 0.01, 0.002)
    measured = whole_run(costs)
    for number, each in enumerate(measured):
        if number % 10 == 3:
            each["gaps"] = [
                gap * (9 if place % 8 == 5 else 1) for place, gap in enumerate(each["gaps"])
            ]
    found = fit(measured)
    assert found.decode(4, 1200) == pytest.approx(costs.decode(4, 1200), rel=0.1)
    assert found.step(0, 0, 200, 0) == pytest.approx(costs.step(0, 0, 200, 0), rel=0.1)


def test_the_spread_of_a_server_is_learnt_from_its_answers() -> None:
    """A step in eight takes four times as long, and a first text in four twice as long."""
    measured = whole_run(COSTS)
    for each in measured:
        gaps = enumerate(each["gaps"], 1)
        each["gaps"] = [gap * (4 if place % 8 == 0 else 1) for place, gap in gaps]
    alone = [dict(lines(COSTS, 1, 20, 1, 100 + number)[0]) for number in range(80)]
    for each in alone[::4]:
        each["ttft"] *= 2
    spread = fit(measured + alone).spread
    steps, waits = np.array(spread.steps), np.array(spread.waits)
    slow = steps > 2 * np.median(steps)
    most = sum(len(each["gaps"]) for each in _one_a_turn(measured))
    assert 0.9 * most < len(steps) <= most  # each once
    assert slow.mean() == pytest.approx(1 / 8, abs=0.03)
    assert np.median(steps[slow]) / np.median(steps) == pytest.approx(4, rel=0.1)
    late = waits > 1.4 * np.median(waits)
    assert late.sum() == 20
    assert np.median(waits[late]) / np.median(waits) == pytest.approx(2, rel=0.1)


def test_a_client_that_is_held_up_makes_no_slow_steps() -> None:
    spread = Spread.of([1.0, 1.9, 0.1, 1.0, 4.0, 1.2], [0.1, 2.0])
    assert spread == Spread((1.0, 1.0, 1.0, 1.0, 4.0, 1.2), (0.1, 2.0))


def _one_a_turn(measured: list[Any]) -> list[Any]:
    """All answers of a turn come together there, but for those beside another."""
    return list({each["round"]: each for each in reversed(measured)}.values())


@given(
    arrays(np.float64, (6, 3), elements=st.floats(0, 1)),
    arrays(np.float64, 6, elements=st.floats(-1, 1)),
)
def test_the_best_fit_without_negative_coefficients(features: Any, wanted: Any) -> None:
    """As it must be (Karush, Kuhn, Tucker): no coefficient could be better, higher or lower."""
    found = non_negative(features, wanted)
    slope = features.T @ (wanted - features @ found)
    assert (found >= 0).all()
    assert (slope <= 1e-6).all()
    assert (np.abs(slope[found > 0]) < 1e-6).all()


@pytest.mark.parametrize(
    ("some", "message"),
    [
        ([], "steps were measured"),
        (lines(COSTS, 4, 30, 40, 1), "requests were alone"),
        ([{}], "no lines"),
    ],
)
def test_what_cannot_be_fitted_says_what_is_missing(some: list[Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit(some)


def test_costs_are_kept(tmp_path: Path) -> None:
    for costs in (COSTS, replace(COSTS, spread=UNEVEN)):
        costs.save(tmp_path / "costs.json")
        assert CostModel.load(tmp_path / "costs.json") == costs
    nothing = COSTS.as_json() | {"run": [0] * len(TOKENS)}
    older = COSTS.as_json() | {"tokens": [1, 2]}
    uneven = [COSTS.as_json() | {"spread": bad} for bad in ([1.0], {"steps": [1.0, 0.0]})]
    impossible = [
        COSTS.as_json() | {key: value}
        for key, value in (
            ("context", -1),
            ("depth", math.nan),
            ("intake", math.inf),
            ("drafts", {"gain": 0}),
            ("drafts", {"width": 10**400}),
            ("spread", {"steps": "12"}),
            ("spread", {"steps": [1e300]}),
        )
    ]
    bad = (nothing, older, *uneven, *impossible)
    for text in ("", "[]", "{}", "[" * 100_000, *map(json.dumps, bad)):
        (tmp_path / "costs.json").write_text(text)
        with pytest.raises(FitError):
            CostModel.load(tmp_path / "costs.json")


def test_a_measured_run_is_compared_with_its_simulation(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(
        "\n".join(json.dumps(line) for line in whole_run(COSTS))
    )
    read = [each for each in calibration.read_lines(tmp_path) if each["name"] == "x"]
    found = validation.validate(read, Setup(COSTS))
    assert {each.level.clients for each in found} == {1, 2, 4, 8, 16}
    assert all(abs(each.error("tokens_s")) < 0.1 for each in found)
    with pytest.raises(FitError):
        validation.validate([], Setup(COSTS))


def test_a_run_is_compared_with_the_draft_tokens_that_it_had() -> None:
    """Three tokens come with each second step; a gap of a client that was held up is none."""
    gaps = [0.01, 0.0, 0.0, 0.012] * 4
    lines = [line("x", 1, at, at + 0.05, gaps, 30) | {"rate": 1.0} for at in range(20)]
    setup = Setup(CostModel.line(0.005, 0.003, overhead=0.01))
    (found,) = validation.validate(lines, setup)
    (once,) = validation.validate([each | {"steps": 16} for each in lines], setup)
    assert found.simulated["tokens_s"] > once.simulated["tokens_s"]
    assert found.measured == once.measured


def test_a_round_is_compared_with_its_own_requests() -> None:
    """A round in which the machine was busy does not decide."""
    setup = Setup(CostModel.line(0.01, 0.001))
    lines = [
        line("x", number, at * gap, at * gap + slow * 0.031, [0.011] * 4, 20) | {"rate": 1.0}
        for number, gap, slow in ((1, 1.0, 1), (2, 0.5, 5), (3, 2.0, 1))
        for at in range(10)
    ]
    (found,) = validation.validate(lines, setup)
    assert abs(found.error("tokens_s")) < 0.02
    assert abs(found.error("ttft_p50_ms")) < 0.05


def test_the_tail_of_few_requests_says_little() -> None:
    """Of the 99th percentile of so many draws, whose true one is 4.6, and of blocks of them."""
    chance = np.random.default_rng(3)

    def wide(requests: int, alike: int = 1) -> float:
        drawn = chance.exponential(1, requests // alike).repeat(alike)
        low, high = validation.tail_interval([drawn[: requests // 2], drawn[requests // 2 :]])
        assert low <= high
        return high - low

    assert wide(100) > 2 * wide(10_000)
    assert wide(10_000, alike=20) > 2 * wide(10_000)
    found = [validation.tail_interval([chance.exponential(1, 2000)]) for _ in range(20)]
    assert sum(low < 4.605 < high for low, high in found) >= 15
    assert validation.tail_interval([np.array([0.2])]) == (0.2, 0.2)


class AnsweringTarget:
    """Answers each turn once."""

    name, model, where = "t", "m", "here"

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def check(self, workload: Workload) -> None: ...

    def run(
        self,
        workload: Workload,
        level: Level,
        amount: Amount,
        seed: int,
        keep: Callable[[Record], None],
    ) -> Turn:
        self.seeds.append(seed)
        record = Record(workload.name, 0.0, End.OK, 0.2, ttft=0.1, gaps=[0.1], tokens=2)
        keep(record)
        return Turn(1.0, [record])


def test_a_calibration_warms_up_and_tells_each_turn() -> None:
    target, told = AnsweringTarget(), list[str]()
    found = calibration.measure(target, told.append, seed=700)
    assert told[0] == "warm-up" and len(told) == calibration.turns()
    rounds = [line["round"] for line in found]
    warm = rounds.index(1)
    assert warm > 0 and not any(rounds[:warm]) and all(rounds[warm:])
    assert target.seeds == [700 + number for number in rounds]
    turns = {(line["name"], line["clients"], line["round"]) for line in found[warm:]}
    assert len(turns) == len(found) - warm  # which the fit tells apart


def test_several_runs_are_read_as_one(tmp_path: Path) -> None:
    """As if each round of the second one was a further round of the first."""
    for name, some in (("1", lines(COSTS, 2, 30, 5, 1)), ("2", lines(COSTS, 3, 30, 5, 1))):
        (tmp_path / name).mkdir()
        warm = [line | {"round": 0} for line in some[:1]]
        calibration.write_lines(tmp_path / name / "requests.jsonl", warm + some)
    found = calibration.read_lines(tmp_path)
    assert [line["clients"] for line in found] == [2, 2, 2, 3, 3, 3, 3]
    assert [line["round"] == 0 for line in found] == [True, False, False, True, False, False, False]
    assert len({line["round"] for line in found}) == 3
    assert len(calibration.read_lines(tmp_path / "2")) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="requests"):
        calibration.read_lines(tmp_path / "empty")


def test_a_recorded_run_is_compared_again(tmp_path: Path) -> None:
    """The default model on two cores, which had other work in some rounds.

    The 99th percentile is the worst of fifty requests, which such a machine decides.
    """
    setup = Setup(CostModel.load(RECORDED / "costs.json"))
    lines = calibration.read_lines(RECORDED / "run.json")
    found = validation.validate(lines, setup)
    assert len(found) == 5
    for figure, most in (("tokens_s", 0.03), ("ttft_p50_ms", 0.15), ("waiting", 0.15)):
        assert all(abs(each.error(figure)) < most for each in found)
    calibration.write_recorded(tmp_path / "again.json", lines)
    assert calibration.read_lines(tmp_path / "again.json") == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say which load"),
        (["--rates", "x"], "'x' is no number"),
        (["--rates", "1", "--trace", "a.csv"], "Give one load"),
        (["--validate", str(RECORDED / "run.json"), "--rates", "1"], "Give one load"),
        (["--clients", "4", "--for-ttft", "9"], "--for-ttft is for --rates"),
        (["--rates", "1", "--fail", "1:1:1"], "there is no worker 1"),
        (["--rates", "1", "--fail", "1:0:-1"], "times are from 0"),
        (["--rates", "1", "--add", "nan:1"], "times are from 0"),
        (["--rates", "1", "--add", "1:0"], "at least one worker"),
        (["--rates", "1", "--add", "1"], "Examples are"),
        (["--rates", "1", "--add", f"1:{10**12}"], "10,000 workers at most"),
        (["--rates", "1", "--for-ttft", "0.001"], "No number of workers"),
        (["--trace", "none.csv"], "none.csv"),
    ],
)
def test_bad_input_is_told_in_a_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    known = ["--costs", str(RECORDED / "costs.json"), "--out", str(tmp_path)]
    done = CliRunner().invoke(build(), ["simulate", *known, *arguments])
    assert isinstance(done.exception, ClientError | OSError) and message in str(done.exception)


ONE = line("x", 1, 0.0, 0.1, [0.1], 30)
WHOLE = json.dumps(ONE)
NEEDED = ONE.keys() - {"name", "waited", "gaps"}


@pytest.mark.parametrize("use", ["--validate", "--costs"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        WHOLE[:40],
        f"{WHOLE}\n{WHOLE[:40]}",
        "null",
        "[1]",
        "[" * 100_000,
        WHOLE.encode("utf-16").decode("latin-1"),
        *(json.dumps({k: v for k, v in ONE.items() if k != key}) for key in sorted(NEEDED)),
        *(json.dumps(ONE | {key: {}}) for key in sorted({*NEEDED, "gaps"})),
        *(json.dumps(ONE | {"at": at}) for at in (math.nan, math.inf, 10**400, None)),
        *(json.dumps(ONE | {"ttft": ttft}) for ttft in (math.nan, -1, 1e300)),
        *(json.dumps(ONE | {"tokens": tokens}) for tokens in (-1, 0.5, 10**12)),
        json.dumps(ONE | {"gaps": [0.1, math.nan]}),
    ],
)
def test_lines_that_no_benchmark_wrote_are_told_in_a_line(
    use: str, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(text)
    given = ["--costs", str(RECORDED / "costs.json"), "--rates", "1"]
    given = [*given[:2], use, str(file)] if use == "--validate" else [use, str(file), *given[2:]]
    done = CliRunner().invoke(build(), ["simulate", *given, "--out", str(tmp_path)])
    assert isinstance(done.exception, ClientError), done.exception


def test_a_run_that_took_no_time_is_compared(tmp_path: Path) -> None:
    lines = [ONE | {"ttft": 0.0, "e2e": 0.0, "tokens": 0, "gaps": []}] * 3
    found = validation.validate(lines, Setup(COSTS))
    assert [each.requests for each in found] == [3]


def test_json_has_null_for_what_was_not_measured(tmp_path: Path) -> None:
    trace_of_one_token = tmp_path / "t.csv"
    trace_of_one_token.write_text("at,prompt_tokens,output_tokens\n0,10,1\n1,10,1\n")
    known = ["--costs", str(RECORDED / "costs.json"), "--out", str(tmp_path)]
    asked = ["simulate", *known, "--trace", str(trace_of_one_token), "-o", "json"]
    done = CliRunner().invoke(build(), asked)
    [row] = msgspec.json.decode(done.stdout)["rows"]  # which refuses NaN
    assert row["tpot_p50_ms"] is None and row["ttft_p50_ms"] > 0


def test_costs_without_a_spread_say_that_their_tail_is_too_short(tmp_path: Path) -> None:
    for spread, words in ((Spread(), "knows no bad moments"), (UNEVEN, "4 times as long")):
        replace(COSTS, spread=spread).save(tmp_path / "costs.json")
        known = ["--costs", str(tmp_path / "costs.json"), "--out", str(tmp_path)]
        done = CliRunner().invoke(build(), ["simulate", *known, "--rates", "1", "--requests", "9"])
        assert done.exit_code == 0 and words in done.output


def test_traces_are_read(tmp_path: Path) -> None:
    path, titles = tmp_path / "t.csv", "at,prompt_tokens,output_tokens"
    path.write_text(f"{titles}\n5,10,3\n4.5,7,0\n")
    assert trace(path) == [Arrival(0.0, 7, 1), Arrival(0.5, 10, 3)]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n")
    assert trace(path) == [Arrival(0.0, 374, 44)]
    for text in (
        "",
        "a,b\n1,2\n",
        *(f"{titles}\n{row}\n" for row in ("x,1,1", "1,1", "nan,1,1", "5,-10,0", "")),
        f"{titles}\n1,1,{10**12}\n",
        f"{titles}\n-1e308,1,1\n1e308,1,1\n",
        f"{titles}\n1,1,{'1' * 200_000}\n",  # more than a field may have
    ):
        path.write_text(text)
        with pytest.raises(TraceError):
            trace(path)
    path.write_text(f"{titles}\n5,10,3\n", encoding="utf-16")
    with pytest.raises(TraceError):
        trace(path)


def test_the_mean_rate_is_the_one_asked_for() -> None:
    arrivals = list(poisson(CHAT, 5, 2000, 1))
    assert arrivals[-1].at == pytest.approx(400, rel=0.1)
    assert math.isfinite(sum(each.prompt for each in arrivals))
