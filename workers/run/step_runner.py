"""Runs the rows of a step in the way that is the fastest for such a step on this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from cupola.workers.run.autotune import Autotune
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits
from cupola.workers.run.step_cost import Kind, kinds_alike, step_kind
from cupola.workers.run.ways import OneSession, OptionalWay

logger = logging.getLogger(__name__)

# Kinds of steps in which a way is tried before it is given up: as many as a model that nobody uses
# yet tries by itself.
ENOUGH_KINDS = 3


class StepRunner:
    """A ``Running`` that learns which of several ways is the fastest for each kind of step."""

    def __init__(
        self, first: OneSession, *others: OptionalWay[Any], autotune: Autotune | None = None
    ) -> None:
        """``first`` runs what no other way can. ``autotune``: what is known of the ways' speed."""
        self._first = first
        self._others = {way.name: way for way in others}
        self._autotune = autotune or Autotune()

    def run(self, rows: Sequence[Row], logits: Logits) -> float:
        """See ``Running.run``. Another way than the first is dropped if it fails.

        Raises what the first way raises.
        """
        plans = {self._first.name: self._first.plan(rows)}
        for other in self._others.values():
            if (plan := other.plan(rows)) is not None:
                plans[other.name] = plan
        if len(plans) == 1:
            return plans[self._first.name].run(logits)
        kind = step_kind(rows)
        costs = {name: plan.cost for name, plan in plans.items()}
        name = self._autotune.choose(kind, costs, kinds_alike(kind))
        way = self._others.get(name)
        try:
            seconds = plans[name].run(logits)
        except Exception:  # of whatever kind the runtime raises
            if way is None:
                raise
            logger.exception("steps are not run with %s any more", name)
            way.drop()
            return plans[self._first.name].run(logits)
        self._autotune.observe(kind, name, seconds / costs[name])
        if way is not None and self._is_useless(way, kind):
            logger.info("%s are slower on this machine, so their memory is freed", name)
            way.give_up()
        return seconds

    def _is_useless(self, way: OptionalWay[Any], kind: Kind) -> bool:
        if way.best_for is None:
            return self._autotune.lost_all_trials(way.name, ENOUGH_KINDS)
        return way.best_for == kind and self._autotune.lost_trials(kind, way.name)

    def rebuild(self) -> None:
        """See ``Running.rebuild``."""
        self._first.rebuild()
        for way in self._others.values():
            way.rebuild()
