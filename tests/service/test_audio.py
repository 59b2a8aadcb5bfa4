"""A real model of speech behind real processes, asked by the official client."""

from __future__ import annotations

import asyncio
import io
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
import soundfile

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from tests.service.running_service import MODEL, PATIENCE, Service
from tests.workers.speech.recorded import RECORDED, SPEECH

pytestmark = pytest.mark.slow

WHISPER = "whisper-tiny.en"
TEXT = "".join(segment.text for segment in RECORDED.segments).strip()


def upload() -> tuple[str, bytes]:
    return "speech.ogg", SPEECH.read_bytes()


def test_a_transcript(service: Service) -> None:
    found = service.openai().audio.transcriptions.create(
        model=WHISPER, file=upload(), include=["logprobs"]
    )
    assert found.text == TEXT
    assert found.usage is not None and found.usage.type == "duration"
    assert found.usage.seconds == 25
    assert found.logprobs and all(each.logprob <= 0 for each in found.logprobs if each.logprob)


def test_a_verbose_transcript(service: Service) -> None:
    found = service.openai().audio.transcriptions.create(
        model=WHISPER,
        file=upload(),
        response_format="verbose_json",
        timestamp_granularities=["segment"],
        language="en",
        temperature=0,
    )
    assert found.text == TEXT and found.language == "english"
    assert found.duration == pytest.approx(24.73, abs=0.01)
    assert found.segments is not None
    for segment, expected in zip(found.segments, RECORDED.segments, strict=True):
        assert segment.text == expected.text
        assert segment.start == pytest.approx(expected.start, abs=0.02)


def test_a_stream_has_the_text_in_pieces(service: Service) -> None:
    stream = service.openai().audio.transcriptions.create(model=WHISPER, file=upload(), stream=True)
    deltas, done = [], None
    for each in stream:
        if each.type == "transcript.text.delta":
            deltas.append(each.delta)
        elif each.type == "transcript.text.done":
            done = each
    assert len(deltas) >= 2 and "".join(deltas) == TEXT
    assert done is not None and done.text == TEXT
    assert done.usage is not None and done.usage.output_tokens > 50


@pytest.mark.parametrize(
    ("form", "beginning"),
    [
        ("srt", "1\n00:00:00,000 --> 00:00:05,540\nAnd Mr. John Dashwood"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> "),
        ("text", TEXT),
    ],
)
def test_forms_whole_and_as_a_stream(service: Service, form: Any, beginning: str) -> None:
    client = service.openai().audio.transcriptions
    whole = client.create(model=WHISPER, file=upload(), response_format=form)
    assert str(whole).lstrip().startswith(beginning)
    deltas, ends, done = [], [], ""
    for each in client.create(model=WHISPER, file=upload(), response_format=form, stream=True):
        if each.type == "transcript.text.delta":
            deltas.append(each.delta)
            ends.append(float((each.model_extra or {})["end"]))
        elif each.type == "transcript.text.done":
            done = each.text
    assert "".join(deltas).strip() == done.strip() == str(whole).strip()
    assert ends == sorted(ends) and 24 < ends[-1] < 25


def test_words_with_their_times(service: Service) -> None:
    found = service.openai().audio.transcriptions.create(
        model=WHISPER,
        file=upload(),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert found.segments is None and found.words is not None
    assert [each.word for each in found.words[:4]] == ["And", "Mr.", "John", "Dashwood"]
    times = [time for each in found.words for time in (each.start, each.end)]
    assert times == sorted(times) and times[-1] < 25


def test_several_clients_at_once(service: Service) -> None:
    client = openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="x", timeout=PATIENCE)

    async def ask() -> list[str]:
        async with client:
            made = [
                client.audio.transcriptions.create(model=WHISPER, file=upload()) for _ in range(4)
            ]
            return [each.text for each in await asyncio.gather(*made)]

    assert asyncio.run(ask()) == [TEXT] * 4


def test_an_asynchronous_stream(service: Service) -> None:
    async def deltas() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="x", timeout=PATIENCE)
        async with client:
            stream = await client.audio.transcriptions.create(
                model=WHISPER, file=upload(), stream=True, include=["logprobs"]
            )
            found = []
            async for each in stream:
                if each.type == "transcript.text.delta":
                    assert each.logprobs and all(one.logprob is not None for one in each.logprobs)
                    found.append(each.delta)
            return found

    assert "".join(asyncio.run(deltas())) == TEXT


def noise(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(round(seconds * 16_000)), 16_000, format="WAV")
    return file.getvalue()


def test_silence_has_no_text(service: Service) -> None:
    found = service.openai().audio.transcriptions.create(
        model=WHISPER, file=("silence.wav", noise(3))
    )
    assert found.text == ""


@pytest.mark.parametrize(
    ("content", "fields", "status", "param"),
    [
        (b"", {}, 400, "file"),
        (b"no sound", {}, 400, "file"),
        (noise(0.01), {}, 400, "file"),
        (noise(1), {"language": "de"}, 400, "language"),
        (noise(1), {"model": MODEL}, 400, "model"),
        (noise(1), {"model": "missing"}, 404, "model"),
        (noise(1), {"timestamp_granularities[]": "word"}, 400, "timestamp_granularities"),
        (noise(1), {"response_format": "diarized_json"}, 400, "response_format"),
    ],
)
def test_what_cannot_be_done_is_named(
    service: Service, content: bytes, fields: dict[str, str], status: int, param: str
) -> None:
    answer = httpx2.post(
        f"{service.url}/v1/audio/transcriptions",
        data={"model": WHISPER, **fields},
        files={"file": ("a.wav", content)},
        timeout=PATIENCE,
    )
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


def test_an_english_model_does_not_translate(service: Service) -> None:
    answer = httpx2.post(
        f"{service.url}/v1/audio/translations",
        data={"model": WHISPER},
        files={"file": upload()},
        timeout=PATIENCE,
    )
    assert answer.status_code == 400 and "multilingual" in answer.text
    assert answer.json()["error"]["param"] == "model"


def test_a_model_of_speech_does_not_chat(service: Service) -> None:
    client = service.openai()
    with pytest.raises(openai.BadRequestError, match="transcribes speech"):
        client.chat.completions.create(model=WHISPER, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="transcribes speech"):
        client.embeddings.create(model=WHISPER, input="x")


def test_sound_in_a_chat_is_refused_with_a_hint(service: Service) -> None:
    sound: Any = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    with pytest.raises(openai.BadRequestError, match="/v1/audio/transcriptions"):
        service.openai().chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": [sound]}]
        )


def test_files_of_the_server_are_read_below_the_folder_only(service: Service) -> None:
    answer = httpx2.post(
        f"{service.url}/v1/audio/transcriptions",
        json={"model": WHISPER, "filename": str(SPEECH)},
        timeout=PATIENCE,
    )
    assert answer.status_code == 403 and "audio_folder" in answer.text


def test_a_client_that_leaves_does_not_stop_the_others(service: Service, tmp_path: Path) -> None:
    """Its windows are dropped, and the next transcript is whole."""
    long = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(SPEECH.read_bytes()))
    soundfile.write(long, np.tile(samples, 8), rate, format="FLAC")
    first = threading.Event()

    def leave() -> None:
        client = service.openai()
        with client.audio.transcriptions.create(
            model=WHISPER, file=("long.flac", long.getvalue()), stream=True
        ) as stream:
            next(iter(stream))
            first.set()

    thread = threading.Thread(target=leave)
    thread.start()
    assert first.wait(PATIENCE)
    thread.join(PATIENCE)
    found = service.openai().audio.transcriptions.create(model=WHISPER, file=upload())
    assert found.text == TEXT


def test_a_killed_worker_ends_a_transcript_once_and_the_next_is_whole(
    start: Callable[..., Service], real_whisper: Home, tmp_path: Path
) -> None:
    running = start(model="").ready()
    folder = ModelCache(real_whisper).find(WHISPER).path
    shutil.copytree(folder, Home(tmp_path).models / folder.relative_to(real_whisper.models))
    long = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(SPEECH.read_bytes()))
    soundfile.write(long, np.tile(samples, 8), rate, format="FLAC")
    client = running.openai()
    kinds: list[str] = []
    with (
        pytest.raises(openai.APIError, match="send it again"),
        client.audio.transcriptions.create(
            model=WHISPER, file=("long.flac", long.getvalue()), stream=True
        ) as stream,
    ):
        for each in stream:
            if not kinds:
                running.child("worker cpu:0/0").kill()
            kinds.append(each.type)
    assert kinds and set(kinds) == {"transcript.text.delta"}
    assert client.audio.transcriptions.create(model=WHISPER, file=upload()).text == TEXT
