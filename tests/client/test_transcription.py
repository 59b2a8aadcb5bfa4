"""What the command sends to the service, and what it makes of the stream."""

from __future__ import annotations

import io
import json
import threading
import wave
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from cupola.client.errors import ClientError, RecordingError
from cupola.client.running_service import RunningService
from cupola.client.transcription import Heard, Recording, transcript

DELTA = {"type": "transcript.text.delta", "delta": "Hello", "end": 1.5, "duration": 3.0}
DONE = {
    "type": "transcript.text.done",
    "text": "Hello there.",
    "usage": {"type": "tokens"},
    "transcription": {"text": "Hello there.", "language": "english"},
}


class Scripted(BaseHTTPRequestHandler):
    """Answers with what a test has put into ``answer``."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")
    asked: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((self.path, body))
        status, content = self.answer
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[RunningService]:
    Scripted.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield RunningService(f"http://127.0.0.1:{server.server_port}", 1)
        server.shutdown()
        thread.join()


def events(*given: Mapping[str, object]) -> bytes:
    return "".join(f"data: {json.dumps(each)}\n\n" for each in given).encode()


def heard(service: RunningService, form: str, **options: bool) -> tuple[str, list[Heard]]:
    told: list[Heard] = []
    fields = {"model": "w", "response_format": form, "language": ""}
    recording = Recording("a.wav", b"sound")
    return transcript(service, recording, fields, told.append, **options), told


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("text", "Hello there."),
        ("json", '{"text": "Hello there.", "usage": {"type": "tokens"}}'),
        ("verbose_json", '{"text": "Hello there.", "language": "english"}'),
    ],
)
def test_a_stream_becomes_the_form_that_is_asked_for(
    service: RunningService, form: str, answer: str
) -> None:
    Scripted.answer = (200, events(DELTA, DONE) + b"data: [DONE]\n\n")
    text, told = heard(service, form)
    assert text == answer
    ((path, body),) = Scripted.asked
    assert path == "/v1/audio/transcriptions"
    assert b'name="stream"' in body and b'name="language"' not in body
    (progress,) = told
    assert (progress.end, progress.duration) == (1.5, 3.0)
    assert "2 of 3 s" in str(progress) and progress.speed > 0


def test_a_translation_comes_whole(service: RunningService) -> None:
    Scripted.answer = (200, b"Hello.")
    assert heard(service, "text", translate=True) == ("Hello.", [])
    assert Scripted.asked[0][0] == "/v1/audio/translations"


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ((400, b'{"error": {"message": "no sound"}}'), "a.wav: no sound"),
        ((200, events({"error": {"message": "worker lost"}})), "worker lost"),
        ((200, events(DELTA)), "broke off"),
    ],
)
def test_what_went_wrong_is_said(
    service: RunningService, answer: tuple[int, bytes], named: str
) -> None:
    Scripted.answer = answer
    with pytest.raises(ClientError, match=named):
        heard(service, "text")


@pytest.mark.parametrize(
    ("status", "param", "of_the_recording"),
    [(400, "file", True), (413, None, True), (400, "model", False), (503, None, False)],
)
def test_an_error_says_whether_another_recording_may_do(
    service: RunningService, status: int, param: str | None, of_the_recording: bool
) -> None:
    Scripted.answer = (status, json.dumps({"error": {"message": "no", "param": param}}).encode())
    with pytest.raises(ClientError) as caught:
        heard(service, "text")
    assert isinstance(caught.value, RecordingError) == of_the_recording


def test_bare_samples_become_a_sound_file() -> None:
    recording = Recording.of_pcm(io.BytesIO(b"\1\0\2\0\3"), 8000)
    with wave.open(io.BytesIO(recording.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 2)
        assert file.readframes(2) == b"\1\0\2\0"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"a\.wav cannot be read"):
        Recording.read(tmp_path / "a.wav")
