"""The search: bounds first, then measurements of real services, then a duel with the default."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cupola.loadtests.bench.estimate import Ratio, paired
from cupola.loadtests.bench.http_target import HttpTarget
from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.rounds import Plan, Rounds
from cupola.loadtests.bench.target import Amount, Broken
from cupola.loadtests.host.own_service import DidNotStart, OwnService, borrowed_home
from cupola.loadtests.load.results import Objective, Record, figures
from cupola.loadtests.load.workloads import Workload
from cupola.loadtests.tune import halving
from cupola.loadtests.tune.candidate import Candidate
from cupola.loadtests.tune.halving import OutOfTimeError, Trial

THROUGHPUT, LATENCY, GOODPUT = GOALS = ("throughput", "latency", "goodput")
_SEARCH_SHARE = 0.65  # of the time; the rest is for the duel
_DUEL_ROUNDS = 5
_WORTH = 1.02  # a gain below is within the noise, and no reason to leave the defaults
_GRID_RUNG = 1
DUEL = "the duel with the default"
_START_SECONDS = 180  # a machine in use takes its time


@dataclass(frozen=True, slots=True)
class Task:
    """What the settings are for."""

    workload: Workload
    clients: int
    goal: str
    objective: Objective
    seconds: float  # the budget


@dataclass(slots=True)
class Found:
    chosen: Candidate
    default: Candidate
    trials: list[Trial] = field(default_factory=list)
    gain: Ratio = field(default_factory=lambda: Ratio(math.nan))  # over the default
    failed: dict[str, str] = field(default_factory=dict)  # why, by candidate


def score(goal: str, found: Mapping[str, float], objective: Objective) -> float:
    """Higher is better, and always positive.

    ``latency``: answers as fast as possible; those that miss the objective come after all that
    keep it.
    """
    if goal == THROUGHPUT:
        return found["tokens_s"]
    if goal == GOODPUT:
        # Without an answer that is good, throughput leads to where there may be one.
        return found["goodput_s"] + found["tokens_s"] * 1e-6
    whole = found["e2e_p50_ms"]
    kept = (
        found["ttft_p99_ms"] <= objective.ttft * 1000
        and found["itl_p99_ms"] <= objective.itl * 1000
    )
    speed = 1000 / whole if math.isfinite(whole) and whole > 0 else 0.0
    return speed if kept else speed * 1e-3


class Search:
    """``tell`` hears what is tried, the share of the time that is over, and the best so far."""

    def __init__(
        self, task: Task, home: Path, tell: Callable[[str, float], None] = lambda *_: None
    ) -> None:
        self._task, self._home, self._tell = task, home, tell
        self._began = time.monotonic()
        self._longest = 0.0  # look at a candidate, so far
        self._best: Trial | None = None
        self.found: Found

    def run(self, candidates: Sequence[Candidate], default: Candidate) -> Found:
        """``candidates``: the most promising first; as many as the time allows are tried.

        After an interrupt ``found`` has what there is. Raises Broken if not even the default works.
        """
        self.found = Found(default, default)
        first = self._look(default, 0)
        if first is None:
            raise Broken(f"the default settings do not work: {self.found.failed[default.text]}")
        # A look at n candidates, at half of them for twice as long, and so on.
        rungs = max(1.0, math.log2(max(2, len(candidates))))
        room = self._task.seconds * _SEARCH_SHARE - self._spent
        looks = room / (self._longest * min(3.0, rungs))
        affordable = max(1, int(min(looks, len(candidates))))
        trials = {(default, 0): first}

        def look(candidate: Candidate, rung: int) -> Trial | None:
            if (known := trials.get((candidate, rung))) is not None:
                return known
            if self._spent + self._longest > self._task.seconds * _SEARCH_SHARE:
                raise OutOfTimeError
            return self._look(candidate, rung)

        self.found.trials = halving.halve(candidates[:affordable], default, look)
        self.found.chosen = halving.best(self.found.trials, default)
        if self.found.chosen != default:
            self._duel()
        return self.found

    def run_all(self, candidates: Sequence[Candidate], default: Candidate) -> Found:
        """Measure each candidate equally long, whatever time that takes, and then the duel.

        After an interrupt ``found`` has what there is. Raises Broken if not even the default works.
        """
        self.found = Found(default, default)
        for each in (default, *(each for each in candidates if each != default)):
            if (trial := self._look(each, _GRID_RUNG)) is not None:
                self.found.trials.append(trial)
            elif each == default:
                raise Broken(f"the default settings do not work: {self.found.failed[each.text]}")
        self.found.chosen = halving.best(self.found.trials, default)
        if self.found.chosen != default:
            self._duel()
        return self.found

    @property
    def _spent(self) -> float:
        return time.monotonic() - self._began

    def _look(self, candidate: Candidate, rung: int) -> Trial | None:
        """Start a service, measure it for a while, and stop it."""
        task, began = self._task, self._spent
        leader = f"; best so far: {self._best.candidate.text}" if self._best else ""
        self._tell(candidate.text + leader, began / task.seconds)
        try:
            with self._service(candidate) as service:
                found = self._measure(service.url, candidate.model, 2**rung)
        except (DidNotStart, Broken) as error:
            self.found.failed[candidate.text] = str(error)
            return None
        self._longest = max(self._longest, self._spent - began)
        trial = Trial(candidate, rung, score(task.goal, found, task.objective), found)
        if self._best is None or (rung, trial.score) > (self._best.rung, self._best.score):
            self._best = trial
        return trial

    @contextmanager
    def _service(self, candidate: Candidate) -> Iterator[OwnService]:
        """One with these settings that is ready. Raises DidNotStart."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            home = borrowed_home(self._home, folder)
            with OwnService(home, folder, candidate.settings) as service:
                service.wait_until_ready(_START_SECONDS)
                yield service

    def _measure(self, url: str, model: str, requests: int) -> dict[str, float]:
        task = self._task
        target = HttpTarget(url, model=model)
        target.check(task.workload)
        ignore: Callable[[Record], None] = lambda _: None  # noqa: E731
        level = Level(clients=task.clients)
        turn = target.run(task.workload, level, Amount(requests), requests, ignore)
        return figures(turn.records, turn.seconds, task.objective)

    def _duel(self) -> None:
        """The best and the default side by side, in turns; it must win."""
        task, found = self._task, self.found
        affordable = (task.seconds - self._spent) / max(1.0, self._longest)
        rounds = int(max(2, min(_DUEL_ROUNDS, affordable)))
        self._tell(f"{found.chosen.text} against the default", self._spent / task.seconds)
        plan = Plan(
            task.workload, (Level(clients=task.clients),), Amount(2), task.objective, rounds
        )
        try:
            with ExitStack() as stack:
                targets = []
                for name, each in (("chosen", found.chosen), ("default", found.default)):
                    service = stack.enter_context(self._service(each))
                    targets.append(HttpTarget(service.url, name, each.model))
                rows = {row.target: row for row in Rounds(plan, targets).run().rows}
        except (DidNotStart, Broken) as error:
            found.failed[DUEL] = str(error)
            found.chosen = found.default
            return
        both = sorted(rows["chosen"].rounds.keys() & rows["default"].rounds.keys())
        scores = {
            name: [score(task.goal, row.rounds[n], task.objective) for n in both]
            for name, row in rows.items()
        }
        found.gain = paired(scores["chosen"], scores["default"])
        if not found.gain.value > _WORTH:
            found.chosen = found.default
