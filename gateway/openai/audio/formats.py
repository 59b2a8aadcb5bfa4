"""A transcript in each of the forms of ``response_format``. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cupola.gateway.openai.audio.answers import (
    AudioLogprob,
    Duration,
    Transcription,
    TranscriptionSegment,
    TranscriptionWord,
    VerboseTranscription,
)
from cupola.gateway.openai.audio.languages import LANGUAGES
from cupola.scheduler.protocol.outputs import Output, Recording, Segment, TokenLogprob, Usage

JSON, TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Transcript:
    """A whole answer."""

    segments: Sequence[Segment]
    logprobs: Sequence[TokenLogprob]
    recording: Recording
    usage: Usage
    translated: bool
    lists_segments: bool = True

    @classmethod
    def of(
        cls, outputs: Sequence[Output], *, translated: bool, lists_segments: bool = True
    ) -> Transcript:
        """``outputs``: all of a request."""
        last = outputs[-1]
        return cls(
            [segment for output in outputs for segment in output.segments],
            [each for output in outputs for each in output.logprobs],
            last.recording or Recording(0, "en"),
            last.usage or Usage(0, 0),
            translated,
            lists_segments,
        )

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def duration(self) -> Duration:
        return Duration(math.ceil(self.recording.seconds))


def as_json(transcript: Transcript) -> bytes:
    found = Transcription(transcript.text, transcript.duration, logprobs(transcript.logprobs))
    return msgspec.json.encode(found)


def as_verbose_json(transcript: Transcript) -> bytes:
    return msgspec.json.encode(verbose(transcript))


def verbose(transcript: Transcript) -> VerboseTranscription:
    language = "en" if transcript.translated else transcript.recording.language
    segments = [_segment(*each) for each in enumerate(transcript.segments)]
    words = [
        TranscriptionWord(word.text, word.start, word.end)
        for segment in transcript.segments
        for word in segment.words
    ]
    return VerboseTranscription(
        task="translate" if transcript.translated else "transcribe",
        language=LANGUAGES.get(language, language),
        duration=round(transcript.recording.seconds, 2),
        text=transcript.text,
        usage=transcript.duration,
        segments=segments if transcript.lists_segments else None,
        words=words or None,
        logprobs=logprobs(transcript.logprobs),
    )


def as_text(transcript: Transcript) -> bytes:
    return f"{transcript.text}\n".encode()


def as_srt(transcript: Transcript) -> bytes:
    return srt_entries(transcript.segments).encode()


def as_vtt(transcript: Transcript) -> bytes:
    return (VTT_BEGIN + vtt_entries(transcript.segments)).encode()


VTT_BEGIN = "WEBVTT\n\n"


def srt_entries(segments: Iterable[Segment], first: int = 1) -> str:
    """``first``: the number of the first entry."""
    return "".join(
        f"{number}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n{_line(each)}\n\n"
        for number, each in enumerate(segments, first)
    )


def vtt_entries(segments: Iterable[Segment]) -> str:
    return "".join(
        f"{_clock(each.start, '.')} --> {_clock(each.end, '.')}\n{_line(each)}\n\n"
        for each in segments
    )


FORMATS: Mapping[str, tuple[Callable[[Transcript], bytes], str]] = {
    "json": (as_json, JSON),
    "verbose_json": (as_verbose_json, JSON),
    "text": (as_text, TEXT),
    "srt": (as_srt, TEXT),
    "vtt": (as_vtt, TEXT),
}


def logprobs(found: Iterable[TokenLogprob]) -> list[AudioLogprob] | None:
    """None where there are none."""
    listed = [
        AudioLogprob(each.token.decode("utf-8", "replace"), each.logprob, list(each.token))
        for each in found
    ]
    return listed or None


def _segment(number: int, segment: Segment) -> TranscriptionSegment:
    return TranscriptionSegment(
        id=number,
        seek=round(segment.window * 100),
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=list(segment.tokens),
        temperature=segment.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
    )


def _line(segment: Segment) -> str:
    # An arrow would be taken for a line of times.
    return " ".join(segment.text.split()).replace("-->", "->")


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    hours, rest = divmod(thousandths, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, rest = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{point}{rest:03}"
