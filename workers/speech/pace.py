"""How many runs of the decoder follow a turn of the worker's other models. Pure.

The models of a worker take turns in one loop, so an answer waits for its next token while windows
are decoded. The windows get a share of the time that the others take. They take it in turns that
are short: those in which a prompt is read are as long as they may be without them.
"""

from __future__ import annotations

_SHARE = 0.3  # of the time that the others take, for the windows
_FULL = 0.6  # of the objective: turns are not filled beyond it
_LONG = 1.5  # times the usual turn: it has a prompt
_WEIGHT = 0.1  # of the newest turn in the usual one
_IDLE = 0.005  # seconds: behind others that take less nobody waits


class Pace:
    def __init__(self, objective: float) -> None:
        """``objective``: seconds between two tokens of an answer."""
        self._objective = objective
        self._due = 0.0  # seconds that the windows may take
        self._run = 0.0  # seconds of the last run
        self._usual = 0.0  # seconds of the others' turns

    def runs(self, others: float) -> int:
        """``others``: seconds for which the windows have waited for the other models."""
        if others < _IDLE:
            self._due = 0.0
            return 1
        self._usual += (_WEIGHT if self._usual else 1.0) * (others - self._usual)
        self._due = min(self._objective, self._due + _SHARE * others)
        spare = min(self._due, _FULL * self._objective - others)
        if spare > 0.0 and spare >= self._run:
            return int(spare / self._run) if self._run else 1
        # Others whose turns are always long must not keep the windows waiting.
        is_long = others > _LONG * self._usual
        enough = self._objective if is_long else min(self._run, self._objective)
        return 1 if self._due >= enough else 0

    def ran(self, seconds: float) -> None:
        """A run has taken so long."""
        self._run = seconds

    def took(self, seconds: float) -> None:
        """All that was done in a turn has taken so long."""
        self._due = max(-self._objective, self._due - seconds)
