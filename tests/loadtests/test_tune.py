"""The search for settings: what is tried, what wins, and what is told, without services."""

from __future__ import annotations

import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.cache.home import Home
from cupola.loadtests.bench.estimate import Ratio
from cupola.loadtests.host.own_service import borrowed_home
from cupola.loadtests.load.results import Objective
from cupola.loadtests.load.workloads import story
from cupola.loadtests.tune import halving
from cupola.loadtests.tune.candidate import AUTO, Candidate, grid
from cupola.loadtests.tune.explanation import explain, frontier, picture
from cupola.loadtests.tune.halving import OutOfTimeError, Trial
from cupola.loadtests.tune.roofline import Machine, bound
from cupola.loadtests.tune.search import DUEL, GOALS, Found, Task, score
from cupola.service import home_lock
from cupola.service.settings.settings import Settings

GRID = grid(4, 16, ["m"])
DEFAULT = Candidate(1, 4, AUTO, 256, "m")
TASK = Task(story(8), 16, "throughput", Objective(1, 0.2), 300)


def trial(candidate: Candidate, rung: int, value: float, latency: float = 1.0) -> Trial:
    return Trial(candidate, rung, value, {"tokens_s": value, "e2e_p50_ms": latency})


def test_the_grid_has_the_default_and_only_what_can_be_set() -> None:
    assert DEFAULT in GRID
    assert len(set(GRID)) == len(GRID)
    for candidate in GRID:
        assert candidate.workers <= candidate.threads <= 4
        read = tomllib.loads(candidate.toml(["why", "how"]))
        made = Settings(**read)
        assert (made.slots, made.threads, made.step_tokens) == (
            candidate.slots or "auto", candidate.threads, candidate.step_tokens
        )  # fmt: skip
        assert len(made.devices) == candidate.workers


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("clients", [1, 8, 1000])
def test_a_grid_is_never_empty(cores: int, clients: int) -> None:
    assert grid(cores, clients, ["m"])


scores = st.lists(st.floats(1, 100), min_size=len(GRID), max_size=len(GRID))


@settings(max_examples=50)
@given(scores)
def test_without_noise_the_best_is_found(values: list[float]) -> None:
    known = dict(zip(GRID, values, strict=True))
    trials = halving.halve(GRID, DEFAULT, lambda c, rung: trial(c, rung, known[c]))
    assert known[halving.best(trials, DEFAULT)] == max(values)
    rungs = [sum(t.rung == r for t in trials) for r in range(max(t.rung for t in trials) + 1)]
    assert rungs == sorted(rungs, reverse=True)


@settings(max_examples=50)
@given(scores, st.integers(0, 40), st.sets(st.integers(0, len(GRID) - 1)))
def test_what_is_chosen_was_better_than_the_default_whenever_time_ran_out(
    values: list[float], looks: int, broken: set[int]
) -> None:
    known = dict(zip(GRID, values, strict=True))
    dead = {GRID[number] for number in broken} - {DEFAULT}
    left = looks

    def look(candidate: Candidate, rung: int) -> Trial | None:
        nonlocal left
        if left == 0:
            raise OutOfTimeError
        left -= 1
        return None if candidate in dead else trial(candidate, rung, known[candidate])

    trials = halving.halve(GRID, DEFAULT, look)
    chosen = halving.best(trials, DEFAULT)
    assert chosen not in dead and known[chosen] >= known[DEFAULT]
    assert len(trials) <= looks


def test_the_bound_knows_what_cannot_be_faster() -> None:
    machine = Machine(bytes_s=1e10, products_s=1e10, cores=4)

    def most(candidate: Candidate, clients: int = 16) -> float:
        return bound(candidate, machine, 10**8, clients)

    assert most(DEFAULT) > most(Candidate(1, 1, 16, 256, "m"))  # fewer threads
    assert most(DEFAULT) >= most(Candidate(1, 4, 4, 256, "m"))  # clients that wait
    assert most(DEFAULT, 1) <= 1 / (10**8 / 1e10)  # all weights are read for each token


FIGURES = {
    "tokens_s": 100.0, "goodput_s": 2.0, "e2e_p50_ms": 500.0,
    "ttft_p99_ms": 900.0, "itl_p99_ms": 100.0,
}  # fmt: skip
BETTER = {
    "throughput": {"tokens_s": 101.0},
    "goodput": {"goodput_s": 2.1, "tokens_s": 1.0},
    "latency": {"e2e_p50_ms": 499.0, "tokens_s": 1.0},
}


@pytest.mark.parametrize("goal", GOALS)
def test_a_goal_prefers_what_it_names(goal: str) -> None:
    good = score(goal, FIGURES, Objective(1, 0.2))
    assert score(goal, FIGURES | BETTER[goal], Objective(1, 0.2)) > good > 0


def test_latency_prefers_what_keeps_the_objective() -> None:
    quick = FIGURES | {"e2e_p50_ms": 100.0, "ttft_p99_ms": 1100.0}
    assert score("latency", quick, Objective(1, 0.2)) < score("latency", FIGURES, Objective(1, 0.2))


@pytest.mark.parametrize(
    ("gain", "chosen", "words"),
    [
        (Ratio(1.2, 1.1, 1.3), GRID[0], "Sure: ×1.20"),  # noqa: RUF001
        (Ratio(1.02, 0.9, 1.2), GRID[0], "Not sure"),
        (Ratio(0.9, 0.8, 1.0), DEFAULT, "the default stays"),
        (Ratio(float("nan")), DEFAULT, "No other settings"),
    ],
)
def test_it_says_how_sure_it_is(gain: Ratio, chosen: Candidate, words: str) -> None:
    found = Found(chosen, DEFAULT, [trial(DEFAULT, 0, 1.0), trial(GRID[0], 0, 1.0)], gain)
    lines = explain(found, TASK)
    assert len(lines) == 3 and words in lines[2]
    assert ("Keep the default" in lines[0]) == (chosen == DEFAULT)


def test_a_duel_that_broke_says_so_and_leaves_the_default() -> None:
    trials = [trial(DEFAULT, 0, 1.0), trial(GRID[0], 0, 2.0)]
    found = Found(DEFAULT, DEFAULT, trials, failed={DUEL: "it has ended"})
    first, second, third = explain(found, TASK)
    assert "Keep the default" in first and "did not work" not in second
    assert "beside the default" in third and "it has ended" in third


def test_services_side_by_side_have_the_models_and_settings_of_one_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "mine")
    (home.models / "someone").mkdir(parents=True)
    home.settings_file.write_text("threads = 2\n")
    borrowed = [Home(borrowed_home(home.root, tmp_path / name)) for name in ("a", "b")]
    locks = [home_lock.take(each) for each in (home, *borrowed)]  # raises if one is taken
    try:
        assert all((each.models / "someone").is_dir() for each in borrowed)
        assert all(each.settings_file.read_text() == "threads = 2\n" for each in borrowed)
        (borrowed[0].downloads).mkdir()
        assert not home.downloads.exists()
    finally:
        for lock in locks:
            if lock is not None:
                lock.release()


def test_a_search_without_time_compares_nothing_and_says_so() -> None:
    lines = explain(Found(DEFAULT, DEFAULT, [trial(DEFAULT, 0, 1.0)]), TASK)
    assert "Nothing was compared" in lines[1] and "--minutes" in lines[2]


def test_the_frontier_is_what_nothing_beats() -> None:
    trials = [
        trial(GRID[0], 0, 10, 100), trial(GRID[1], 0, 20, 200), trial(GRID[2], 0, 15, 300),
        trial(GRID[3], 0, 5, 150),
    ]  # fmt: skip
    assert [each.candidate for each in frontier(trials)] == [GRID[0], GRID[1]]
    drawn = ElementTree.fromstring(picture(Found(GRID[0], GRID[1], trials)))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == len(trials) + 2
