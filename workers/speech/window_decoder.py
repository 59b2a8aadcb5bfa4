"""The transcript of one window while it is generated, and which of its tries is taken. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cupola.workers.speech.log_mel import Floats
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.token_rules import choose, probability

RISING = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # temperatures that are tried one after the other
# The thresholds of Whisper's reference.
_REPEATS = 2.4  # a text that can be compressed so well repeats itself
_DOUBTFUL = -1.0  # mean log probability of a token
_NO_SPEECH = 0.6


@dataclass(frozen=True, slots=True)
class Try:
    """A transcript of a window at one temperature. ``tokens`` are without the end."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each token
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float

    @property
    def is_silent(self) -> bool:
        return self.no_speech_prob > _NO_SPEECH and self.avg_logprob <= _DOUBTFUL

    @property
    def is_good(self) -> bool:
        repeats = self.compression_ratio > _REPEATS
        return self.is_silent or not (repeats or self.avg_logprob < _DOUBTFUL)


@dataclass(slots=True)
class WindowDecoder:
    """Takes logits and gives tokens, until ``result`` is there."""

    tokens: SpeechTokens
    prompt: list[int]  # text before the window, and the tokens that begin the transcript
    limit: int  # tokens of a transcript
    text: Callable[[Sequence[int]], str]
    temperatures: tuple[float, ...]
    random: np.random.Generator
    result: Try | None = None
    generated: int = 0  # tokens of all tries
    _tries: list[Try] = field(default_factory=list)
    _chosen: list[int] = field(default_factory=list)
    _logprobs: list[float] = field(default_factory=list)
    _no_speech: float = 0.0

    @property
    def start(self) -> int:
        """The index in ``prompt`` of the token that begins the transcript."""
        return len(self.prompt) - 1 - self.prompt[::-1].index(self.tokens.start)

    @property
    def next_token(self) -> int:
        return self._chosen[-1]

    @property
    def position(self) -> int:
        """Of ``next_token``."""
        return len(self.prompt) + len(self._chosen) - 1

    def begin(self, logits: Floats) -> bool:
        """``logits`` ``[2, vocabulary]``: behind ``start`` and behind the prompt.

        True: the prompt must be read again, for another try.
        """
        self._chosen.clear()
        self._logprobs.clear()
        self._no_speech = probability(logits[0], self.tokens.no_speech)
        return self.take(logits[1])

    def take(self, logits: Floats) -> bool:
        """As ``begin``, with the logits behind ``next_token``. They are changed."""
        temperature = self.temperatures[len(self._tries)]
        token, logprob = choose(logits, self._chosen, self.tokens, temperature, self.random)
        self.generated += 1
        self._logprobs.append(logprob)
        if token != self.tokens.end:
            self._chosen.append(token)
            if len(self._chosen) < self.limit:
                return False
        return self._end(temperature)

    def _end(self, temperature: float) -> bool:
        text = [token for token in self._chosen if token < self.tokens.end]
        attempt = Try(
            tuple(self._chosen),
            tuple(self._logprobs[: len(self._chosen)]),
            temperature,
            sum(self._logprobs) / (len(self._chosen) + 1),
            compression_ratio(self.text(text)),
            self._no_speech,
        )
        self._tries.append(attempt)
        if not attempt.is_good and len(self._tries) < len(self.temperatures):
            return True
        self.result = attempt if attempt.is_good else self._least_bad()
        return False

    def _least_bad(self) -> Try:
        """The most probable of those that do not repeat themselves."""
        plain = [each for each in self._tries if each.compression_ratio <= _REPEATS]
        return max(plain or self._tries, key=lambda each: each.avg_logprob)


def compression_ratio(text: str) -> float:
    content = text.encode()
    return len(content) / len(zlib.compress(content)) if content else 0.0
