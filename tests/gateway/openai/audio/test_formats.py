"""Transcripts in every form."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from cupola.gateway.openai.audio.formats import FORMATS, Transcript, as_verbose_json
from cupola.scheduler.protocol.outputs import (
    Output,
    Recording,
    Segment,
    SpokenWord,
    TokenLogprob,
    Usage,
)


def segment(start: float, end: float, text: str) -> Segment:
    return Segment(start, end, text, (1, 2), 30.0, 0.2, -0.25, 1.5, 0.125)


OUTPUTS = [
    Output("a", " Hello there.", segments=(segment(0, 1.5, " Hello there."),)),
    Output(
        "a",
        " Then --> now.",
        segments=(segment(3661.0456, 3662, " Then --> now."),),
        logprobs=(TokenLogprob(b" Then", -0.5),),
    ),
    Output("a", usage=Usage(3, 9), recording=Recording(3662.31, "de")),
]


def written(form: str, translated: bool = False) -> bytes:
    write, _ = FORMATS[form]
    return write(Transcript.of(OUTPUTS, translated=translated))


def test_json() -> None:
    assert msgspec.json.decode(written("json")) == {
        "text": "Hello there. Then --> now.",
        "usage": {"type": "duration", "seconds": 3663},
        "logprobs": [{"token": " Then", "logprob": -0.5, "bytes": [32, 84, 104, 101, 110]}],
    }


def test_verbose_json() -> None:
    found = msgspec.json.decode(written("verbose_json"))
    assert (found["task"], found["language"], found["duration"]) == (
        "transcribe",
        "german",
        3662.31,
    )
    assert found["segments"][1] == {
        "id": 1,
        "seek": 3000,
        "start": 3661.0456,
        "end": 3662.0,
        "text": " Then --> now.",
        "tokens": [1, 2],
        "temperature": 0.2,
        "avg_logprob": -0.25,
        "compression_ratio": 1.5,
        "no_speech_prob": 0.125,
    }
    translated = msgspec.json.decode(written("verbose_json", translated=True))
    assert (translated["task"], translated["language"]) == ("translate", "english")


def test_words_alone_or_beside_segments() -> None:
    spoken = (SpokenWord("Hello", 0.0, 0.5, 0.9), SpokenWord("there.", 0.5, 1.5, 0.8))
    outputs = [Output("a", segments=(replace(segment(0, 1.5, " Hello there."), words=spoken),))]
    words = [
        {"word": "Hello", "start": 0.0, "end": 0.5},
        {"word": "there.", "start": 0.5, "end": 1.5},
    ]
    for lists_segments in (True, False):
        whole = Transcript.of(outputs, translated=False, lists_segments=lists_segments)
        found = msgspec.json.decode(as_verbose_json(whole))
        assert found["words"] == words and ("segments" in found) is lists_segments
    assert "words" not in msgspec.json.decode(written("verbose_json"))


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("text", "Hello there. Then --> now.\n"),
        (
            "srt",
            "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
            "2\n01:01:01,046 --> 01:01:02,000\nThen -> now.\n\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n"
            "01:01:01.046 --> 01:01:02.000\nThen -> now.\n\n",
        ),
    ],
)
def test_forms_of_text(form: str, text: str) -> None:
    assert written(form).decode() == text
