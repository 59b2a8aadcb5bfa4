"""whisper-tiny.en and real speech: token for token what faster-whisper makes of it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel, Transcribe
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from tests.workers.speech.recorded import RECORDED, SPEECH

pytestmark = pytest.mark.slow


def heard(folder: Path, work: Transcribe) -> list[Output]:
    woken = threading.Event()
    model = LocalModel("whisper", str(folder), ExecutionProvider.CPU)
    backend = load(model, EngineOptions(threads=2), woken.set)
    backend.add("a", work)
    outputs: list[Output] = []
    while not outputs or not outputs[-1].last:
        if not backend.busy:
            assert woken.wait(60)
            woken.clear()
        for output in backend.step():
            assert isinstance(output, Output)
            outputs.append(output)
    return outputs


def test_floats_say_what_faster_whisper_says(real_whisper_fp32: Path) -> None:
    outputs = heard(real_whisper_fp32, Transcribe(SPEECH.read_bytes()))
    segments = [segment for output in outputs for segment in output.segments]
    assert len(segments) == len(RECORDED.segments)
    for found, expected in zip(segments, RECORDED.segments, strict=True):
        assert found.tokens == tuple(expected.tokens[1:-1])  # without times
        assert found.text == expected.text
        assert found.start == pytest.approx(expected.start, abs=0.011)
        assert found.end == pytest.approx(expected.end, abs=0.05)
        assert found.avg_logprob == pytest.approx(expected.avg_logprob, abs=2e-3)
        assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, abs=2e-3)


def test_words_have_the_times_of_faster_whisper(real_whisper_fp32: Path) -> None:
    outputs = heard(real_whisper_fp32, Transcribe(SPEECH.read_bytes(), words=True))
    segments = [segment for output in outputs for segment in output.segments]
    words = [word for segment in segments for word in segment.words]
    for found, expected in zip(words, RECORDED.words, strict=True):
        assert found.text == expected.word
        assert found.start == pytest.approx(expected.start, abs=0.021)
        assert found.end == pytest.approx(expected.end, abs=0.021)
        assert found.probability == pytest.approx(expected.probability, abs=2e-3)
    for segment in segments:
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)


def test_the_model_of_the_catalog_says_the_same(real_whisper: Home) -> None:
    folder = ModelCache(real_whisper).find("whisper-tiny.en").path
    outputs = heard(folder, Transcribe(SPEECH.read_bytes()))
    text = "".join(output.text for output in outputs)
    assert text == "".join(segment.text for segment in RECORDED.segments)
