"""How many sequences a model runs at once. Pure.

More of them share the reading of the weights, so more tokens are made in all, and each of them
later. The most that keep the pace are the best: one that waits for a slot has its first token late.
"""

from __future__ import annotations

from statistics import median

FIRST = 16  # before anything is known. Fewer would let requests wait for whole answers
MOST = 128
_SHARE = 0.7  # of the objective that single tokens may take; the rest is for prompts beside them
_SAMPLES = 8  # steps after which the number is chosen anew
_FULL = 0.9  # of the slots: with fewer sequences a step says nothing of one with all of them
_MOST_GROWTH = 2
_WEIGHTS = 12  # tokens that take as long as it takes to read the weights. See ``step_cost``


class SlotCount:
    """The number of slots: as many as an operator wants, or learnt from the time of steps."""

    def __init__(self, wanted: int, objective: float, most: int = MOST) -> None:
        """``wanted``: 0: as many as keep the pace, up to ``most``. ``objective``: seconds between
        two tokens of an answer."""
        self.now = wanted or min(FIRST, most)
        self.most = wanted or most
        self._target = 0.0 if wanted else objective * _SHARE
        self._seconds: list[float] = []

    def observe(self, generating: int, prompt_tokens: int, seconds: float) -> None:
        """Learn the time of a step in which so many sequences generated beside prompts."""
        if self._target == 0 or generating < _FULL * self.now:
            return
        if prompt_tokens > generating:  # it says more of prompts
            return
        own = _WEIGHTS + generating
        # Of a step with all slots, if they generated.
        self._seconds.append(seconds * own / (own + prompt_tokens) * (_WEIGHTS + self.now) / own)
        if len(self._seconds) == _SAMPLES:
            # A sequence takes no more time than now when there are more of them.
            fitting = self.now * self._target / max(median(self._seconds), 1e-9)
            self.now = int(
                max(min(fitting, self.now * _MOST_GROWTH, self.most), min(FIRST, self.most))
            )
            self._seconds = []
