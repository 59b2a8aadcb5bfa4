"""What a request changes about the model's logits before a token is drawn, row by row.

Only the tokens concerned are touched: no pass over the vocabulary, however many rows there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.messages import SamplingParams


class Penalties:
    """One sequence's penalties and biases, and the tokens they depend on.

    Frequency and presence penalties count the answer's tokens (OpenAI's definition); the repetition
    penalty is over prompt and answer (CTRL, arXiv 1909.05858): it divides positive logits and
    multiplies negative ones.
    """

    def __init__(self, params: SamplingParams, prompt: Iterable[int], end_tokens: Iterable[int]):
        self._params = params
        self._end = np.array(sorted(end_tokens), np.int64)
        self._bias_ids = np.array(list(params.logit_bias), np.int64)
        self._bias = np.array(list(params.logit_bias.values()), np.float32)
        self._repeats = params.repetition_penalty != 1.0
        self._counts_answer = bool(params.frequency_penalty or params.presence_penalty)
        self._seen: set[int] = set(prompt) if self._repeats else set()
        self._counts: Counter[int] = Counter()
        self._made = 0

    @property
    def active(self) -> bool:
        return bool(
            self._repeats
            or self._counts_answer
            or self._bias_ids.size
            or self._made < self._params.min_tokens
        )

    def add(self, token: int) -> None:
        """The answer has one more token."""
        self._made += 1
        if self._counts_answer:
            self._counts[token] += 1
        if self._repeats:
            self._seen.add(token)

    def apply(self, row: NDArray[np.float32]) -> None:
        """Change one row of logits ``[vocabulary]`` in place."""
        params = self._params
        if self._seen:
            ids = np.fromiter(self._seen, np.int64, len(self._seen))
            seen = row[ids]
            factor = np.float32(params.repetition_penalty)
            row[ids] = np.where(seen > 0, seen / factor, seen * factor)
        if self._counts:
            ids = np.fromiter(self._counts, np.int64, len(self._counts))
            counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            row[ids] -= counts * np.float32(params.frequency_penalty)
            row[ids] -= np.float32(params.presence_penalty)
        if self._bias_ids.size:
            known = self._bias_ids < row.size
            row[self._bias_ids[known]] += self._bias[known]
        if self._made < params.min_tokens:
            row[self._end] = -np.inf
