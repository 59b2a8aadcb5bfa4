"""Counts the requests that have ended, and the tokens of all requests. Pure."""

from __future__ import annotations

from collections import Counter

from cupola.scheduler.protocol.messages import ErrorCode, Outcome, Output, Totals

_REFUSALS = frozenset(
    {ErrorCode.INVALID_REQUEST, ErrorCode.CONTEXT_LENGTH_EXCEEDED, ErrorCode.MODEL_NOT_FOUND}
)

_MOST = 2**63 - 1  # that a frame can hold, whatever nonsense was told


class Account:
    """Tokens are counted when a worker tells of them, so those of running requests are there."""

    def __init__(self) -> None:
        self._counts = Counter[str]()  # by the names of ``Totals``

    @property
    def totals(self) -> Totals:
        return Totals(**{name: min(max(0, count), _MOST) for name, count in self._counts.items()})

    def ended(self, outcome: Outcome, requests: int = 1) -> None:
        self._counts[outcome.value] += requests

    def malformed(self) -> None:
        self._counts["malformed_frames"] += 1

    def told(self, output: Output) -> None:
        """Count the tokens of an output, whether or not somebody waits for it."""
        counts = self._counts
        counts["completion_tokens"] += output.made
        if (read := output.prompt_usage) is not None:
            counts["prompt_tokens"] += read.prompt_tokens
            counts["cached_tokens"] += read.cached_tokens
        if (usage := output.usage) is not None:
            counts["accepted_prediction_tokens"] += usage.accepted_prediction_tokens
            counts["rejected_prediction_tokens"] += usage.rejected_prediction_tokens


def outcome_of(code: ErrorCode) -> Outcome:
    """How a request counts that ended with this error."""
    return Outcome.REFUSED if code in _REFUSALS else Outcome.FAILED
