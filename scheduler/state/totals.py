"""Counts the requests that have ended, and the tokens of all requests. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Set

from cupola.scheduler.protocol.messages import ErrorCode, Outcome
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Totals

_REFUSALS = frozenset(
    {
        ErrorCode.INVALID_REQUEST,
        ErrorCode.CONTEXT_LENGTH_EXCEEDED,
        ErrorCode.MODEL_NOT_FOUND,
        ErrorCode.CLIENT_LIMIT,
    }
)

_MOST = 2**63 - 1  # that a frame can hold, whatever nonsense was told


class Account:
    """Tokens are counted when a worker tells of them, so those of running requests are there."""

    def __init__(self) -> None:
        self._counts = Counter[str]()  # by the names of ``Totals``
        self._http: dict[int, int] = {}  # answers by their statuses
        self._workers: set[str] = set()  # names of those that have joined

    @property
    def totals(self) -> Totals:
        return Totals(**{name: min(max(0, count), _MOST) for name, count in self._counts.items()})

    def ended(self, outcome: Outcome, requests: int = 1) -> None:
        self._counts[outcome.value] += requests

    def answered_http(self, statuses: dict[int, int]) -> None:
        """HTTP answers of a gateway, by their statuses."""
        for status, answers in statuses.items():
            if 100 <= status < 1000:
                self._http[status] = min(_MOST, self._http.get(status, 0) + max(0, answers))

    @property
    def http(self) -> dict[int, int]:
        return dict(sorted(self._http.items()))

    def joined(self, worker: str, models: Collection[str]) -> None:
        """A worker process has begun. After the first of its name it is a restart."""
        self._counts["worker_restarts"] += worker in self._workers
        self._workers.add(worker)
        self._counts["loads"] += len(models)

    def resident(self, before: Set[str], after: Set[str]) -> None:
        """The models in a worker's memory have changed."""
        self._counts["loads"] += len(after - before)
        self._counts["unloads"] += len(before - after)

    def evicted(self, models: int) -> None:
        self._counts["evictions"] += max(0, models)

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
            if output.recording is not None:
                counts["audio_seconds"] += math.ceil(output.recording.seconds)


def outcome_of(code: ErrorCode) -> Outcome:
    """How a request counts that ended with this error."""
    return Outcome.REFUSED if code in _REFUSALS else Outcome.FAILED
