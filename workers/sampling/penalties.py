"""Penalties and biases: what a request changes in the model's logits before a token is sampled.

Only the logits of the tokens concerned are touched. There is no pass over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.tasks import SamplingParams

_MIN_REPETITION = 1e-3  # a smaller repetition penalty would give infinite logits


class _Tally:
    """Counts tokens, in arrays that are ready for use."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        seen = np.fromiter(tokens, np.int64)
        self._ids, counts = np.unique(seen, return_counts=True)
        self._counts = counts.astype(np.float32)
        self._places = {token: place for place, token in enumerate(self._ids.tolist())}

    def add(self, token: int) -> None:
        place = self._places.setdefault(token, len(self._places))
        if place == self._ids.size:  # the arrays are full
            more = np.zeros(place + 16, np.int64)
            self._ids = np.concatenate([self._ids, more])
            self._counts = np.concatenate([self._counts, more.astype(np.float32)])
        self._ids[place] = token
        self._counts[place] += 1

    @property
    def ids(self) -> NDArray[np.int64]:
        return self._ids[: len(self._places)]

    @property
    def counts(self) -> NDArray[np.float32]:
        return self._counts[: len(self._places)]


class Penalties:
    """One sequence's penalties and biases, and the tokens they depend on.

    Frequency and presence penalties count the answer's tokens (OpenAI's definition); the repetition
    penalty is over prompt and answer (CTRL, arXiv 1909.05858): it divides positive logits and
    multiplies negative ones.
    """

    def __init__(self, params: SamplingParams, prompt: Iterable[int], end_tokens: Iterable[int]):
        self._params = params
        given = 1.0 if params.repetition_penalty is None else params.repetition_penalty
        self._repetition = np.float32(max(given, _MIN_REPETITION))
        # Of a logit's product and quotient, what makes the token less likely, or more.
        self._chosen = np.minimum if given >= 1 else np.maximum
        self._end = np.array(sorted(end_tokens), np.int64)
        self._bias_ids = np.array(list(params.logit_bias), np.int64)
        self._bias = np.array(list(params.logit_bias.values()), np.float32)
        self._repeats = given != 1.0
        self._counts_answer = bool(params.frequency_penalty or params.presence_penalty)
        self._seen = _Tally(prompt if self._repeats else ())
        self._answer = _Tally()
        self._generated = 0

    @property
    def active(self) -> bool:
        """Whether the next token's logits change at all."""
        return bool(
            self._repeats
            or self._counts_answer
            or self._bias_ids.size
            or self._generated < self._params.min_tokens
        )

    def add(self, token: int) -> None:
        """The answer has one more token."""
        self._generated += 1
        if self._counts_answer:
            self._answer.add(token)
        if self._repeats:
            self._seen.add(token)

    def apply(self, row: NDArray[np.float32]) -> None:
        """Change one row of logits ``[vocabulary]`` in place."""
        params = self._params
        if (ids := self._seen.ids).size:
            seen = row.take(ids)
            row[ids] = self._chosen(seen / self._repetition, seen * self._repetition)
        if (ids := self._answer.ids).size:
            penalty = self._answer.counts * np.float32(params.frequency_penalty)
            row[ids] -= penalty + np.float32(params.presence_penalty)
        if self._bias_ids.size:
            known = self._bias_ids < row.size
            row[self._bias_ids[known]] += self._bias[known]
        if self._generated < params.min_tokens:
            row[
                self._end[self._end < row.size]
            ] = -np.inf  # a client may name an id that is too large
