"""The tokens of a model with few of them."""

from __future__ import annotations

import numpy as np

from cupola.workers.speech.speech_tokens import SpeechTokens

TOKENS = SpeechTokens(
    end=40,
    start=41,
    previous=42,
    no_speech=43,
    no_times=44,
    transcribe=45,
    translate=46,
    languages={},
    suppressed=np.array([3, 41, 42, 43]),
    suppressed_first=np.array([7, 40]),
)
