"""What is made of the log-probabilities of a question's options. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum

from cupola.scheduler.protocol.outputs import Scores


@dataclass(frozen=True, slots=True)
class Distribution:
    """The probabilities of the options, in their order. ``mass``: see ``Scores``."""

    probabilities: tuple[float, ...]
    mass: float

    @classmethod
    def of(cls, scores: Scores, temperature: float = 1.0) -> Distribution:
        """``temperature``: of the model's calibration; above 1 it makes the model less certain."""
        highest = max(scores.logprobs)
        weights = [exp((value - highest) / temperature) for value in scores.logprobs]
        total = fsum(weights)
        return cls(tuple(weight / total for weight in weights), scores.mass)

    @property
    def best(self) -> int:
        """The most probable option; of equal ones the first."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def confidence(self) -> float:
        """How far the best option is above chance: 0 if all are equal, 1 if it is certain."""
        options = len(self.probabilities)
        if options == 1:
            return 1.0
        return max(0.0, (options * max(self.probabilities) - 1) / (options - 1))

    def expected(self, values: Sequence[float]) -> float:
        """The mean of the options' values, weighted by their probabilities."""
        return fsum(p * value for p, value in zip(self.probabilities, values, strict=True))
