"""The answers of OpenAI's audio API."""

from __future__ import annotations

from typing import Literal

import msgspec


class Duration(msgspec.Struct, frozen=True):
    seconds: float
    type: Literal["duration"] = "duration"


class InputTokens(msgspec.Struct, frozen=True):
    audio_tokens: int
    text_tokens: int


class TokenUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: InputTokens
    type: Literal["tokens"] = "tokens"


class AudioLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class Transcription(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str
    usage: Duration
    logprobs: list[AudioLogprob] | None = None


class TranscriptionSegment(msgspec.Struct, frozen=True):
    id: int
    seek: int  # hundredths of a second
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TranscriptionWord(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float


class VerboseTranscription(msgspec.Struct, frozen=True, omit_defaults=True):
    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: Duration
    segments: list[TranscriptionSegment] | None = None
    words: list[TranscriptionWord] | None = None
    logprobs: list[AudioLogprob] | None = None


class TextDelta(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="transcript.text.delta"
):
    """An event of a stream."""

    delta: str
    end: float  # seconds of the recording that are written down; OpenAI's events lack both
    duration: float  # of the recording
    logprobs: list[AudioLogprob] | None = None


class TextDone(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="transcript.text.done"
):
    """The last event of a stream."""

    text: str  # the whole transcript in its form
    usage: TokenUsage
    logprobs: list[AudioLogprob] | None = None
    transcription: VerboseTranscription | None = None  # where the form is verbose_json
