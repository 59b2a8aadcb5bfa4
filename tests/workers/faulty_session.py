"""A session around a real one. It fails when a test wants it, and is unusable until rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cupola.scheduler.protocol.status import Serving
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.packing import Row
from cupola.workers.run.runner import Logits
from tests.workers.tiny import session

Fails = Callable[[Sequence[Row]], bool]


def never(rows: Sequence[Row]) -> bool:
    return False


class FaultySession:
    verifies_drafts = True
    built = True
    parallel_prompts = 1
    short_context = 0

    def __init__(self, fails: Fails = never, poisons: Callable[[Row], bool] | None = None) -> None:
        """``fails``: which runs raise. ``poisons``: which rows' logits are no numbers."""
        self.real: DecoderSession = session()
        self.slots, self.vocabulary = self.real.slots, self.real.vocabulary
        self.cache, self.copy_limit = self.real.cache, self.real.copy_limit
        self.fails, self.poisons = fails, poisons
        self.unusable = False
        self.rebuilt = 0
        self.runs: list[list[Row]] = []

    @property
    def serving(self) -> Serving:
        return self.real.serving

    @property
    def seconds(self) -> float:
        return self.real.seconds

    def run(self, rows: Sequence[Row]) -> Logits:
        self.runs.append(list(rows))
        self.unusable |= self.fails(rows)
        if self.unusable:
            raise RuntimeError("told to fail")
        logits = self.real.run(rows)
        place = 0
        for row in rows:
            if self.poisons is not None and self.poisons(row):
                logits[place : place + row.logits] = np.nan
            place += row.logits
        return logits

    def rebuild(self) -> None:
        self.unusable = False
        self.rebuilt += 1
        self.real.rebuild()

    @property
    def tokens(self) -> int:
        """Tokens of all runs."""
        return sum(len(row.tokens) for rows in self.runs for row in rows)
