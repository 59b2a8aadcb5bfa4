"""Targets that take turns, so that a machine whose speed drifts is fair to all.

In every second round they come in the opposite order: A B, B A, A B. A target that breaks keeps its
rounds before, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cupola.loadtests.bench.level import Level
from cupola.loadtests.bench.target import Amount, Broken, Target
from cupola.loadtests.load.results import End, Objective, Record, figures
from cupola.loadtests.load.workloads import Workload

# Before each turn: the threads of llama-server, for one, keep the cores busy for a tenth of a
# second after its last answer, which cost who came next a tenth of its speed at one client.
REST_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured. The warm-up rounds do not count."""

    workload: Workload
    levels: tuple[Level, ...]
    amount: Amount
    objective: Objective
    rounds: int = 3
    warm_up: int = 1
    seed: int = 0

    def turns(self, targets: int) -> int:
        return (self.warm_up + self.rounds * len(self.levels)) * targets


@dataclass(slots=True)
class Row:
    """One target at one level: the figures of its rounds, by the number of the round."""

    target: str
    level: Level
    rounds: dict[int, dict[str, float]] = field(default_factory=dict)

    def values(self, figure: str) -> list[float]:
        return [self.rounds[number][figure] for number in sorted(self.rounds)]


@dataclass(slots=True)
class Outcome:
    rows: list[Row] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # why, by the name of the target
    errors: dict[str, int] = field(default_factory=dict)  # by text, of all targets
    uncounted: int = 0  # answers without usage


class Rounds:
    """``keep`` gets the records of all turns."""

    def __init__(
        self,
        plan: Plan,
        targets: Sequence[Target],
        keep: Callable[[str, Level, int, Record], None] = lambda *_: None,
    ) -> None:
        self._plan, self._targets, self._keep = plan, targets, keep
        self._tell: Callable[[str], None] = lambda _: None
        self.outcome = Outcome()

    def run(self, tell: Callable[[str], None] = lambda _: None) -> Outcome:
        """Measures all of it. ``tell`` hears of each turn before it begins.

        After an interrupt ``outcome`` has what there is.
        """
        plan, self._tell = self._plan, tell
        for number in range(plan.warm_up):
            for target in self._alive():
                self._turn(target, plan.levels[-1], -1 - number, None)
        for level in plan.levels:
            rows = {target.name: Row(target.name, level) for target in self._alive()}
            self.outcome.rows += rows.values()
            for number in range(1, plan.rounds + 1):
                alive = self._alive()
                for target in alive if number % 2 else reversed(alive):
                    self._turn(target, level, number, rows[target.name])
        return self.outcome

    def _alive(self) -> list[Target]:
        return [target for target in self._targets if target.name not in self.outcome.broken]

    def _turn(self, target: Target, level: Level, number: int, row: Row | None) -> None:
        plan = self._plan
        title = "warm-up" if row is None else f"{level.label}, round {number}"
        self._tell(f"{target.name}: {title}")
        time.sleep(REST_SECONDS)
        seed = plan.seed * 1000 + number
        kept: list[Record] = []

        def keep(record: Record) -> None:
            kept.append(record)
            self._keep(target.name, level, number, record)

        try:
            turn = target.run(plan.workload, level, plan.amount, seed, keep)
        except Broken as error:
            self.outcome.broken[target.name] = str(error)
            return
        finally:
            self._count(kept)
        if row is not None:
            row.rounds[number] = figures(turn.records, turn.seconds, plan.objective)

    def _count(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.end is End.ERROR:
                text = record.error or "?"
                self.outcome.errors[text] = self.outcome.errors.get(text, 0) + 1
            elif not record.counted:
                self.outcome.uncounted += 1
