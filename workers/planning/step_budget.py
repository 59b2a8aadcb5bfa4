"""How many tokens a step may hold so that the sequences that generate are not held up. Pure.

The time of a step has two parts: one for the sequences that generate, and one for each prompt token
beside them. Both are learnt from earlier steps. The budget is what fits the objective.
"""

from __future__ import annotations

# Weight of the newest step in the averages. It is larger if the step was slower. A prompt token
# costs more the deeper in its prompt it lies, and an average that follows too slowly would hold the
# other sequences up.
_WEIGHT, _SLOWER = 0.2, 0.5
_MIN_PROMPT_TOKENS = 16  # of a step, however slow it is, so that prompts get on


class StepBudget:
    """Learns from the time of steps how many tokens the next one may hold."""

    def __init__(self, objective: float, max_tokens: int) -> None:
        """``objective``: seconds between two tokens of an answer. ``max_tokens``: of any step."""
        self._objective = objective
        self._max_tokens = max_tokens
        self._step: float | None = None  # seconds of a step without prompts
        self._token: float | None = None  # seconds that one prompt token adds

    def tokens(self, generating: int) -> int:
        """The most tokens of the next step, in which so many sequences generate."""
        if generating == 0 or self._token is None:
            return self._max_tokens
        spare = self._objective - (self._step or 0.0)
        if spare >= self._max_tokens * self._token:  # also if a token takes no time at all
            return self._max_tokens
        prompts = int(spare / self._token) if spare > 0 else 0
        return min(self._max_tokens, generating + max(_MIN_PROMPT_TOKENS, prompts))

    def observe(self, generating: int, prompt_tokens: int, seconds: float, steps: int = 1) -> None:
        """Learn that a step of so many sequences and prompt tokens took ``seconds``.

        ``steps``: so many took as long, and had no prompts.
        """
        if prompt_tokens == 0:
            self._step = _average(self._step, seconds, steps)
        elif prompt_tokens >= _MIN_PROMPT_TOKENS:
            beside = (self._step or 0.0) if generating else 0.0
            self._token = _average(self._token, max(0.0, seconds - beside) / prompt_tokens)


def _average(known: float | None, new: float, times: int = 1) -> float:
    """After ``new`` was seen so many times."""
    if known is None:
        return new
    weight = _SLOWER if new > known else _WEIGHT
    if times > 1:
        weight = 1 - (1 - weight) ** times
    return known + weight * (new - known)
