"""The models whose loads fail again and again, or end the worker that loads them. Pure.

A load that fails may well work the next time: a file is put right, or memory is free again. So a
model is never given up. After some failures in a row it is left alone for a while, which is longer
each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_FAILURES = 3  # in a row, before a model is left alone
FIRST_PAUSE = 30.0  # seconds; doubled with each further failure
LONGEST_PAUSE = 600.0
MAX_MODELS = 256  # remembered at once; the one that failed first is forgotten first


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a model could not be loaded, and how often in a row."""

    reason: str  # for people
    count: int
    ended_worker: bool
    until: float  # the model is left alone until then


class ModelQuarantine:
    """By id. A model that is loaded has no failures any more."""

    def __init__(self) -> None:
        self._failures: dict[str, Failure] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def failed(
        self, model_id: str, reason: str, now: float, *, ended_worker: bool, times: int = 1
    ) -> None:
        """Note that the load has failed, ``times`` in a row."""
        before = self._failures.pop(model_id, None)
        count = (before.count if before else 0) + times
        self._failures[model_id] = Failure(reason, count, ended_worker, now + _pause(count))
        if len(self._failures) > MAX_MODELS:
            del self._failures[next(iter(self._failures))]

    def forget(self, model_ids: Iterable[str]) -> None:
        """The models are loaded, or a person wants a new beginning."""
        for model_id in model_ids:
            self._failures.pop(model_id, None)

    def is_suspect(self, model_id: str) -> bool:
        """Whether its next load may end the worker."""
        failure = self._failures.get(model_id)
        return failure is not None and failure.ended_worker

    def refusal(self, model_id: str, now: float) -> str | None:
        """Why the model is not loaded now; None: it may be loaded."""
        failure = self._failures.get(model_id)
        if failure is None or failure.count < MAX_FAILURES or failure.until <= now:
            return None
        return (
            f"{failure.reason}; this was so {failure.count} times in a row, so it is not tried "
            f"again for {failure.until - now:.0f} s; see the log, and put the model right, for "
            "instance by downloading it again"
        )

    def refused(self, now: float) -> Mapping[str, str]:
        """The models that are not loaded now, and why, in the order of their ids."""
        reasons = {model_id: self.refusal(model_id, now) for model_id in sorted(self._failures)}
        return {model_id: reason for model_id, reason in reasons.items() if reason is not None}


def _pause(count: int) -> float:
    if count < MAX_FAILURES:
        return 0.0
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(count - MAX_FAILURES, 20)))
