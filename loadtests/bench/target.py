"""What is measured: a server's address, or the engine in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cupola.loadtests.bench.level import Level
from cupola.loadtests.load.results import Record
from cupola.loadtests.load.workloads import Workload

REQUESTS, SECONDS = 2, 20.0


class Broken(Exception):
    """A target that cannot be measured (any more): what happened, and what to do."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How long one turn is."""

    requests: int = REQUESTS  # of each client of a closed loop; of an open loop, at least
    seconds: float = SECONDS  # of arrivals in an open loop, at least


@dataclass(slots=True)
class Turn:
    """One target under one level of load, once."""

    seconds: float = 0.0
    records: list[Record] = field(default_factory=list)


class Target(Protocol):
    """Something that answers requests. ``name`` tells targets of one run apart."""

    name: str
    model: str

    @property
    def where(self) -> str:
        """The address; for people."""

    def check(self, workload: Workload) -> None:
        """See that it can be measured, and let it load its model. Raises Broken."""

    def run(
        self,
        workload: Workload,
        level: Level,
        amount: Amount,
        seed: int,
        keep: Callable[[Record], None],
    ) -> Turn:
        """One turn. ``keep`` gets each record at once. Raises Broken if nobody answers."""
