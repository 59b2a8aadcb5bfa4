"""The ways to run a step: how the rows become runs, and in which sessions.

There is always one session that can run any rows. The other ways take memory of their own, are
built in the background, and do not suit all rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from cupola.workers.run.background import BackgroundBuild
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits, Running, run_in_turn
from cupola.workers.run.step_cost import ONE_TOKEN, Kind, step_cost
from cupola.workers.run.step_split import runs

MAX_BLOCK_TOKENS = 8  # with more, weights in blocks were the slower ones wherever they were tried

T = TypeVar("T")


class Plan(NamedTuple):
    """How a way would run a step."""

    run: Callable[[Logits], float]  # see ``Running.run``
    cost: float  # how much work it is; see ``step_cost``


class OneSession:
    """All rows in one session: in one run, or in two, one after the other."""

    name = "one session"

    def __init__(self, runner: Running, copy_limit: int) -> None:
        """``copy_limit``: see ``step_split.runs``."""
        self._runner = runner
        self._copy_limit = copy_limit

    def plan(self, rows: Sequence[Row]) -> Plan:
        """How to run these rows."""
        parts = [(self._runner, part) for part in runs(rows, self._copy_limit)]
        return Plan(partial(run_in_turn, parts), step_cost(rows))

    def rebuild(self) -> None:
        """See ``Running.rebuild``."""
        self._runner.rebuild()


class OptionalWay(ABC, Generic[T]):
    """A way that exists once its sessions (``T``) are built, and until it is dropped."""

    # The kind of step that it suits best. If it is slower there, it is slower everywhere and its
    # memory is freed. None: it is, if it is slower in several kinds and faster in none.
    best_for: Kind | None = None

    def __init__(self, build: Callable[[], T | None], name: str) -> None:
        """``build`` runs in a thread of its own. ``name``: for the log, different for each way."""
        self.name = name
        self._built = BackgroundBuild(build, name)

    @property
    def ready(self) -> bool:
        return self._built.value is not None

    @property
    def built(self) -> bool:
        """Whether nothing of it is being built any more."""
        return self._built.ended

    def wait(self) -> None:
        """Wait until it is built or cannot be."""
        self._built.wait()

    def drop(self) -> None:
        """Free its memory. It is never ready again."""
        self._built.value = None

    def give_up(self) -> None:
        """It is slower on this machine: free its memory, and what was made for it."""
        self.drop()

    def plan(self, rows: Sequence[Row]) -> Plan | None:
        """How to run these rows; None if it is not ready or they do not suit it."""
        sessions = self._built.value
        return None if sessions is None else self._plan(sessions, rows)

    def rebuild(self) -> None:
        """See ``Running.rebuild``."""
        if (sessions := self._built.value) is not None:
            self._rebuild(sessions)

    @abstractmethod
    def _plan(self, sessions: T, rows: Sequence[Row]) -> Plan | None: ...

    @abstractmethod
    def _rebuild(self, sessions: T) -> None: ...


class BlockWeights(OptionalWay[Running]):
    """Few tokens in a session whose weights lie in blocks.

    It rounds differently, so it does not run rows whose logits must be reproducible.
    """

    best_for = ONE_TOKEN

    def __init__(self, build: Callable[[], Running | None]) -> None:
        """``build`` returns None if the model has no weights that can be put into blocks."""
        super().__init__(build, "weights in blocks")

    def _plan(self, sessions: Running, rows: Sequence[Row]) -> Plan | None:
        if sum(len(row.tokens) for row in rows) > MAX_BLOCK_TOKENS:
            return None
        if any(row.reproducible for row in rows):
            return None
        return Plan(partial(sessions.run, rows), step_cost(rows))

    def _rebuild(self, sessions: Running) -> None:
        sessions.rebuild()
