"""What a worker sends for a request: the content of frames from it.

Plain data. Nothing here does I/O.
"""

from __future__ import annotations

import enum

import msgspec


class FinishReason(enum.StrEnum):
    STOP = "stop"  # an end-of-turn token or a stop string
    LENGTH = "length"  # max_tokens or the context is used up
    ABORT = "abort"  # of an output that only tells what a request has cost that nobody waits for


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # tokens of the prompt that were in the cache
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    load_seconds: float = 0.0  # how long the request waited for its model to be loaded


class Timings(msgspec.Struct, frozen=True):
    """How long a request has taken so far, measured in the worker. It does not count waiting.

    ``generation_seconds`` begin with the first token.
    """

    usage: Usage
    prompt_seconds: float
    generation_seconds: float


class PromptProgress(msgspec.Struct, frozen=True):
    """How much of a prompt has been read."""

    total: int  # tokens
    cached: int  # of them, that were in the cache
    read: int  # of them, cached ones included
    seconds: float


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token of the text, its log probability, and the most probable tokens in its place."""

    token: bytes  # UTF-8; a character may be split over several tokens
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


class SpokenWord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A word with the punctuation beside it. Times are as those of segments."""

    text: str
    start: float
    end: float
    probability: float


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a transcript. Times are in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    window: float  # where the window began in which it was heard
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[SpokenWord, ...] = ()  # where the task asks for them


class Recording(msgspec.Struct, frozen=True):
    """What was found out about a recording."""

    seconds: float
    language: str


class Scores(msgspec.Struct, frozen=True):
    """What a model thinks of a question's options.

    ``logprobs``: of the options, in their order; their probabilities add up to one.
    ``mass``: the probability that all options had together, among all answers that the model could
    have begun there.
    """

    logprobs: tuple[float, ...]
    mass: float


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """New text of one request.

    Each answer (``index``) ends with a finish reason. The request ends with the output that has
    the usage, which counts all its answers together.
    """

    request_id: str
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # in the first output; the first token's is NaN
    stopped_by: str | int | None = None  # the stop string or the stop token id that ended it
    made: int = 0  # tokens that were generated since the answer's last output
    tokens: tuple[int, ...] = ()  # the result of Encode
    pieces: tuple[bytes, ...] = ()  # the bytes of each of ``tokens``; a character may be split
    embedding: bytes = b""  # the result of Embed: float32, little-endian
    segments: tuple[Segment, ...] = ()  # of Transcribe; ``text`` is theirs
    recording: Recording | None = None  # in each output of Transcribe
    scores: Scores | None = None  # the result of Decide
    # In the first output of a request whose prompt is computed: the usage so far.
    prompt_usage: Usage | None = None
    room: int = 0  # in the same output: how many tokens fit, if more were asked for
    timings: Timings | None = None  # in the last output, and where the Work asks for it
    # An output of its own, before the first one. It has no text.
    progress: PromptProgress | None = None

    @property
    def last(self) -> bool:
        """Whether nothing of this request follows."""
        return self.usage is not None
