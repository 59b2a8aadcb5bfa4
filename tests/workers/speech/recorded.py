"""Real speech, and what another implementation of Whisper makes of it with the same weights.

The speech is from LibriVox's recording of "Sense and Sensibility", in the public domain.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

_DATA = Path(__file__).parent.parent / "data"
SPEECH = _DATA / "speech.ogg"


class RecordedSegment(msgspec.Struct):
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float


class RecordedWord(msgspec.Struct):
    word: str
    start: float
    end: float
    probability: float


class Recorded(msgspec.Struct):
    source: str
    mel_every_97th_frame: list[list[float]]
    segments: list[RecordedSegment]
    words: list[RecordedWord]


RECORDED = msgspec.json.decode((_DATA / "speech.json").read_bytes(), type=Recorded)
