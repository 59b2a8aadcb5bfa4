"""The backend with a tiny model: windows of all requests share runs, and nothing else."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from msgspec.structs import replace
from tokenizers import Tokenizer

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Embed, Encode, LocalModel, Text, Transcribe, Work
from cupola.workers.device.device import CPU
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.backend import RequestError
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.speech.log_mel import Floats
from cupola.workers.speech.speech_session import Row, SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.transcription import TranscriptionBackend


def sound(seconds: float, seed: int = 0, rate: int = 16_000, **options: str) -> bytes:
    random = np.random.default_rng(seed)
    noise = random.standard_normal(round(seconds * rate)).astype(np.float32) * 0.1
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format=options.pop("format", "WAV"), **options)
    return file.getvalue()


class Started:
    """A backend, and what it has said."""

    def __init__(self, folder: Path) -> None:
        self.woken = threading.Event()
        model = LocalModel("whisper", str(folder), ExecutionProvider.CPU)
        options = EngineOptions(threads=1, slots=3)
        backend = load(model, options, self.woken.set)
        assert isinstance(backend, TranscriptionBackend)
        self.backend = backend
        self.said: dict[str, list[Output | Rejected]] = {}

    def add(self, request_id: str, work: Transcribe) -> None:
        self.said[request_id] = []
        self.backend.add(request_id, work)

    def step(self) -> None:
        if not self.backend.busy:
            assert self.woken.wait(60)
            self.woken.clear()
        for output in self.backend.step():
            self.said[output.request_id].append(output)

    def finish(self, *others: str) -> None:
        """Run until all requests but ``others`` have ended."""
        wanted = self.said.keys() - set(others)
        while not all(map(self.ended, wanted)):
            self.step()

    def ended(self, request_id: str) -> bool:
        said = self.said[request_id]
        return bool(said) and (isinstance(said[-1], Rejected) or said[-1].last)

    def segments(self, request_id: str) -> list[object]:
        outputs = [each for each in self.said[request_id] if isinstance(each, Output)]
        return [segment for output in outputs for segment in output.segments]


@pytest.fixture
def started(tiny_whisper: Path) -> Started:
    return Started(tiny_whisper)


def work(seconds: float, seed: int = 0, **options: object) -> Transcribe:
    # One temperature, so that there is one try: what a tiny model says is always doubtful.
    given = {"language": "en", "temperature": 1e-6, "seed": 1, **options}
    return Transcribe(sound(seconds, seed), **given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_requests_share_runs_and_say_what_each_says_alone(started: Started) -> None:
    works = {"a": work(2), "b": work(40, 1), "c": work(3, 2, prompt="abc"), "d": work(1, 3)}
    alone = {}
    for request_id, each in works.items():
        started.add(request_id, each)
        started.finish()
        alone[request_id] = started.segments(request_id)
    for request_id, each in works.items():
        started.add(request_id, each)
    started.finish()
    for request_id, segments in alone.items():
        assert segments and started.segments(request_id) == segments


@pytest.mark.slow
def test_segments_come_in_the_order_of_time_and_the_last_output_has_the_usage(
    started: Started,
) -> None:
    started.add("a", work(70))
    started.finish()
    outputs = [each for each in started.said["a"] if isinstance(each, Output)]
    times = [segment.start for output in outputs for segment in output.segments]
    assert times == sorted(times)
    assert all(output.usage is None for output in outputs[:-1])
    last = outputs[-1]
    assert last.usage is not None and last.usage.completion_tokens > 0
    assert last.recording is not None
    assert (last.recording.seconds, last.recording.language) == (70, "en")
    assert all(0 <= s.start <= s.end <= 70 for output in outputs for s in output.segments)


@pytest.mark.slow
def test_with_condition_a_window_is_told_the_text_before(started: Started) -> None:
    started.add("a", work(40, condition=True))
    started.finish()
    said = started.said["a"][-1]
    assert isinstance(said, Output) and said.usage is not None
    assert said.usage.prompt_tokens > 2 * 3  # more than what begins each window


def test_the_model_says_which_language_it_hears(started: Started) -> None:
    started.add("a", work(2, language=""))
    started.finish()
    last = started.said["a"][-1]
    assert isinstance(last, Output) and last.recording is not None
    assert last.recording.language in ("en", "de")


def test_logprobs_are_those_of_the_text(started: Started) -> None:
    started.add("a", work(2, logprobs=True))
    started.finish()
    outputs = [each for each in started.said["a"] if isinstance(each, Output)]
    logprobs = [each for output in outputs for each in output.logprobs]
    assert logprobs and all(each.logprob <= 0 for each in logprobs)


@pytest.mark.slow
def test_words_are_inside_the_recording_and_in_order(started: Started) -> None:
    started.add("a", work(40, 1, words=True))
    started.finish()
    outputs = [each for each in started.said["a"] if isinstance(each, Output)]
    segments = [segment for output in outputs for segment in output.segments]
    words = [word for segment in segments for word in segment.words]
    assert words and all(0 <= each.start <= each.end <= 40 for each in words)
    assert all(0 <= each.probability <= 1 for each in words)
    for segment in segments:
        said = "".join(segment.text.split())
        assert "".join("".join(word.text.split()) for word in segment.words) == said


def test_an_older_conversion_has_no_words_and_says_what_to_do(
    tiny_whisper: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_whisper, tmp_path / "old")
    decoder = onnx.load(folder / "decoder.onnx", load_external_data=False)
    kept = [each for each in decoder.graph.output if not each.name.startswith("cross_query")]
    del decoder.graph.output[:]
    decoder.graph.output.extend(kept)
    (folder / "decoder.onnx").write_bytes(decoder.SerializeToString())
    old = Started(folder)
    with pytest.raises(RequestError, match="model download MODEL --force") as refused:
        old.add("words", work(1, words=True))
    assert refused.value.param == "model"
    old.said.clear()
    old.add("text", work(1))
    old.finish()
    assert old.segments("text")


@pytest.mark.slow
def test_an_aborted_request_says_nothing_more_and_the_others_go_on(started: Started) -> None:
    started.add("gone", work(70))
    started.add("stays", work(2, 5))
    while not started.said["gone"]:
        started.step()
    told = len(started.said["gone"])
    started.backend.abort("gone")
    started.backend.abort("unknown")
    started.finish("gone")
    assert len(started.said["gone"]) == told
    started.add("next", work(2, 6))
    started.finish("gone")
    assert started.segments("next")
    assert not started.backend.busy


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no sound at all", "no sound file"),
        (sound(1)[:30], "no sound file"),
        (sound(0.05), "shorter than"),
        (b"\0\0\0\x18ftypM4A ....", "ffmpeg"),
    ],
)
def test_what_is_no_sound_is_refused(
    started: Started, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    started.add("a", Transcribe(content))
    started.finish()
    (said,) = started.said["a"]
    assert isinstance(said, Rejected)
    assert said.param == "audio" and reason in said.message


@pytest.mark.parametrize(
    ("task", "param"),
    [
        (Work(Text("x")), "model"),
        (Embed((Text("x"),)), "model"),
        (Transcribe(sound(1), language="xx"), "language"),
    ],
)
def test_other_work_is_refused(
    started: Started, task: Work | Embed | Transcribe, param: str
) -> None:
    with pytest.raises(RequestError) as refused:
        started.backend.add("a", task)
    assert refused.value.param == param
    with pytest.raises(RequestError):
        started.backend.convert("a", Encode(Text("x")))


def with_session(
    path: Path, session: SpeechSession, clock: Callable[[], float] = time.perf_counter
) -> Started:
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokens = SpeechTokens.read(path, tokenizer, session.vocabulary)
    started = Started(path)
    started.backend = TranscriptionBackend(
        session, tokenizer, tokens, started.woken.set, itl_seconds=0.1, clock=clock
    )
    return started


def test_silence_is_not_heard_and_has_its_length(started: Started) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(40 * 16_000, np.int16), 16_000, format="FLAC")
    started.add("a", Transcribe(file.getvalue(), language="en"))
    started.finish()
    (only,) = started.said["a"]
    assert isinstance(only, Output) and only.text == "" and only.recording is not None
    assert only.recording.seconds == 40


class Told(SpeechSession):
    """Notes the tokens that each window begins with."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.told: list[list[int]] = []

    def read(self, slot: int, tokens: Sequence[int], wanted: Sequence[int]) -> Floats:
        self.told.append(list(tokens))
        return super().read(slot, tokens, wanted)


def test_a_window_is_told_prompt_language_and_task(tiny_whisper: Path) -> None:
    folder = ModelFolder.read(tiny_whisper)
    session = Told(folder, slots=1, cache_bytes=2**30, threads=1, device=CPU)
    started = with_session(tiny_whisper, session)
    tokenizer = Tokenizer.from_file(str(tiny_whisper / "tokenizer.json"))
    started.add("a", replace(work(1, prompt="ab"), translate=True))
    started.finish()
    marks = map(tokenizer.token_to_id, ("<|startoftranscript|>", "<|en|>", "<|translate|>"))
    before = tokenizer.encode(" ab", add_special_tokens=False).ids
    assert session.told[0] == [tokenizer.token_to_id("<|startofprev|>"), *before, *marks]


class Counting(SpeechSession):
    """Its runs take 4 ms by the clock of the test."""

    now = 0.0
    runs = 0

    def step(self, rows: Sequence[Row]) -> Floats:
        self.runs += 1
        self.now += 0.004
        return super().step(rows)


def test_windows_are_decoded_in_turns_that_other_models_leave_short(tiny_whisper: Path) -> None:
    folder = ModelFolder.read(tiny_whisper)
    session = Counting(folder, slots=1, cache_bytes=2**30, threads=1, device=CPU)
    started = with_session(tiny_whisper, session, lambda: session.now)
    started.add("a", work(2))
    while not session.runs:
        started.step()

    def runs_behind(seconds: float) -> int:
        before = session.runs
        session.now += seconds
        started.step()
        return session.runs - before

    assert runs_behind(0.0) == 1
    assert 1 <= runs_behind(0.04) <= 4
    assert runs_behind(0.09) == 0
    assert runs_behind(0.03) > 1
    assert sum(runs_behind(0.2) for _ in range(20)) >= 5


class Faulty(SpeechSession):
    """Fails on a window that is at a given position, alone or beside others."""

    bad_slot = -1

    def step(self, rows: Sequence[Row]) -> Floats:
        if any(row.slot == self.bad_slot for row in rows):
            raise RuntimeError("broken")
        return super().step(rows)


@pytest.mark.slow
def test_a_run_that_fails_costs_the_guilty_request_only(tiny_whisper: Path) -> None:
    folder = ModelFolder.read(tiny_whisper)
    session = Faulty(folder, slots=3, cache_bytes=2**30, threads=1, device=CPU)
    started = with_session(tiny_whisper, session)
    session.bad_slot = 1
    started.add("good", work(2))
    started.add("bad", work(2, 1))
    started.finish()
    endings = [type(said[-1]) for said in started.said.values()]
    assert sorted(kind.__name__ for kind in endings) == ["Output", "Rejected"]
    session.bad_slot = -1
    started.add("next", work(2))
    started.finish()
    assert started.segments("next")


class FailsOnAnotherTry(SpeechSession):
    """Reads the prompt of a window once only."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.has_read: set[int] = set()

    def encode(self, features: Floats, slot: int) -> None:
        super().encode(features, slot)
        self.has_read.discard(slot)

    def read(self, slot: int, tokens: Sequence[int], wanted: Sequence[int]) -> Floats:
        if slot in self.has_read:
            raise RuntimeError("broken")
        self.has_read.add(slot)
        return super().read(slot, tokens, wanted)


@pytest.mark.slow
def test_another_try_that_fails_costs_its_own_request_only(tiny_whisper: Path) -> None:
    folder = ModelFolder.read(tiny_whisper)
    session = FailsOnAnotherTry(folder, slots=2, cache_bytes=2**30, threads=1, device=CPU)
    started = with_session(tiny_whisper, session)
    started.add("one try", work(2))
    started.add("more tries", work(2, 1, temperature=0.0))
    started.finish()
    assert started.segments("one try")
    (said,) = started.said["more tries"]
    assert isinstance(said, Rejected) and "failed on the audio" in said.message
    assert not started.backend.busy


def test_fewer_windows_where_memory_is_short(tiny_whisper: Path) -> None:
    folder = ModelFolder.read(tiny_whisper)
    session = SpeechSession(folder, slots=16, cache_bytes=10 * 2**20, threads=1)
    assert 1 <= session.slots < 16


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is that of a process")
def test_the_encoder_lets_others_go_first_and_the_decoder_does_not(tiny_whisper: Path) -> None:
    def threads() -> dict[int, int]:
        """Their priorities: the higher, the later."""
        found = {}
        for thread in map(int, os.listdir("/proc/self/task")):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                found[thread] = os.getpriority(os.PRIO_PROCESS, thread)
        return found

    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    before = threads()
    session = SpeechSession(
        ModelFolder.read(tiny_whisper), slots=1, cache_bytes=10 * 2**20, threads=3
    )
    # Three each with the one that runs a graph. The one that made the encoder may still be ending.
    new = [priority for thread, priority in threads().items() if thread not in before]
    assert sum(priority > usual for priority in new) in (2, 3)
    assert sum(priority == usual for priority in new) == 2
    del session
