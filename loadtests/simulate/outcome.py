"""What came out of a simulation: each request that was answered, and figures over all. Pure."""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cupola.loadtests.simulate.request import SimulatedRequest


class Finished(NamedTuple):
    """A request that was answered. Seconds from the start of the simulation."""

    arrived: float
    first: float
    ended: float
    tokens: int


class Simulated:
    """What came out."""

    def __init__(self) -> None:
        self.refused = 0  # the queue was full, or they waited for too long
        self.lost = 0  # their worker had begun to answer when it ended
        self.queue: list[tuple[float, int]] = []  # requests without a worker
        # Of those that were answered, in the order of their ends: the fields of ``Finished``.
        self._answered = array("d")

    def add(self, request: SimulatedRequest, ended: float, overhead: float) -> None:
        first = request.first
        first = ended if first is None else first + overhead
        self._answered.extend((request.since, first, ended, request.tokens))

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return len(self._answered) // len(Finished._fields)

    @property
    def finished(self) -> list[Finished]:
        rows = self._columns().T.tolist()
        return [Finished(at, first, ended, int(tokens)) for at, first, ended, tokens in rows]

    def figures(self, ttft: float = 1.0) -> dict[str, float]:
        """Times in ms, rates a second. ``ttft``: the objective of goodput, in seconds."""
        arrived, started, ended, tokens = self._columns()
        first, several = started - arrived, tokens > 1
        paces = (ended - started)[several] / (tokens[several] - 1)
        span = max(1e-9, float(ended.max() - arrived.min())) if len(ended) else 1e-9
        return {
            "ok": len(ended),
            "refused": self.refused,
            "lost": self.lost,
            "requests_s": len(ended) / span,
            "tokens_s": float(tokens.sum()) / span,
            "goodput_s": int((first <= ttft).sum()) / span,
            "ttft_p50_ms": _percentile(first, 50) * 1000,
            "ttft_p99_ms": _percentile(first, 99) * 1000,
            "tpot_p50_ms": _percentile(paces, 50) * 1000,
            "e2e_p50_ms": _percentile(ended - arrived, 50) * 1000,
            "e2e_p99_ms": _percentile(ended - arrived, 99) * 1000,
            "waiting": float(first.sum()) / span,  # without a first text, on average (Little)
        }

    def _columns(self) -> NDArray[np.float64]:
        return np.array(self._answered).reshape(-1, len(Finished._fields)).T


def _percentile(values: NDArray[np.float64], share: float) -> float:
    """The nearest value at a rank, as ``load.results`` has it."""
    if not len(values):
        return float("nan")
    place = min(len(values) - 1, round(share / 100 * (len(values) - 1)))
    return float(np.partition(values, place)[place])
