"""How many tokens a step may hold so that those who generate do not wait too long. Pure.

A step's time is taken as a part for the sequences that generate and a part for each prompt token
beside them. Both are learnt from the steps that were run; the budget is what fits the objective.
"""

from __future__ import annotations

# Of the newest step in the averages. More where it was slower: the deeper a prompt is read, the
# more each of its tokens costs, and an average that lags behind would hold the others up.
_WEIGHT, _SLOWER = 0.2, 0.5
_LEAST = 16  # prompt tokens a step takes however slow it is, so that prompts get on


class Pace:
    def __init__(self, objective: float, most: int) -> None:
        """``objective``: seconds between two tokens of an answer. ``most``: tokens a run takes."""
        self._objective = objective
        self._most = most
        self._step: float | None = None  # seconds of a step without prompts
        self._token: float | None = None  # seconds that one prompt token adds

    def budget(self, generating: int) -> int:
        """Tokens of the next step, when so many sequences generate."""
        if generating == 0 or self._token is None:
            return self._most
        spare = self._objective - (self._step or 0.0)
        if spare >= self._most * self._token:  # also where a token takes no time at all
            return self._most
        prompts = int(spare / self._token) if spare > 0 else 0
        return min(self._most, generating + max(_LEAST, prompts))

    def observe(self, generating: int, prompt_tokens: int, seconds: float) -> None:
        """A step of so many generating sequences and prompt tokens took ``seconds``."""
        if prompt_tokens == 0:
            self._step = _average(self._step, seconds)
        elif prompt_tokens >= _LEAST:
            beside = (self._step or 0.0) if generating else 0.0
            self._token = _average(self._token, max(0.0, seconds - beside) / prompt_tokens)


def _average(known: float | None, new: float) -> float:
    if known is None:
        return new
    return known + (_SLOWER if new > known else _WEIGHT) * (new - known)
