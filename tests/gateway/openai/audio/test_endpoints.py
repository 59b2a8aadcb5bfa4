"""POST /v1/audio/transcriptions, with a worker that hears nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from cupola.scheduler.protocol.messages import Outputs, Submit, decode_work
from cupola.scheduler.protocol.outputs import Output, Recording, Usage
from tests.gateway.running_gateway import MODEL, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow

PATH = "/v1/audio/transcriptions"


@pytest.fixture
def heard(scheduler: ScriptedScheduler) -> list[bytes]:
    """The sounds that workers were given."""
    seen: list[bytes] = []

    def script(submit: Submit) -> Any:
        seen.append(decode_work(submit.work).audio)
        recording = Recording(1.0, "en")
        yield Outputs((Output(submit.request_id, usage=Usage(1, 1), recording=recording),))

    scheduler.script = script
    return seen


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of parts with these headers, written by hand: no client sends some of them."""
    fields = (*parts, ('form-data; name="model"', MODEL.encode()))
    made = [
        b"--x\r\nContent-Disposition: " + said.encode() + b"\r\n\r\n" + content + b"\r\n"
        for said, content in fields
    ]
    return b"".join(made) + b"--x--\r\n"


def post(
    gateway: RunningGateway, content: bytes, kind: str = "multipart/form-data; boundary=x"
) -> httpx2.Response:
    with gateway.http() as http:
        return http.post(PATH, content=content, headers={"content-type": kind})


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "a.wav\\", "%00.wav", "CON", "é\u202ea.wav", "x" * 4000, "a; name=model"],
)
def test_the_name_of_a_file_means_nothing(
    gateway: RunningGateway, heard: list[bytes], name: str
) -> None:
    answer = post(gateway, form((f'form-data; name="file"; filename="{name}"', b"\0sound")))
    assert (answer.status_code, answer.json()["text"]) == (200, "")
    assert heard == [b"\0sound"]


FILE = 'form-data; name="file"; filename="a.wav"'


@pytest.mark.parametrize(
    ("parts", "code", "said"),
    [
        ([], "missing_required_parameter", "'file'"),
        ([(FILE, b"a"), (FILE, b"b")], "invalid_form", "several files 'file'"),
        ([('form-data; name="file"', b"\xff")], "invalid_form", "without a file name"),
        ([('form-data; name="file"', b"text")], "missing_required_parameter", "'file'"),
        ([("form-data", b"")], "invalid_form", "no name"),
        ([(FILE + "x" * 9000, b"")], "invalid_form", "header"),
        ([('form-data; name="prompt"', b"x") for _ in range(200)], "invalid_form", "100 parts"),
    ],
)
def test_a_form_that_cannot_be_meant(
    gateway: RunningGateway,
    heard: list[bytes],
    parts: list[tuple[str, bytes]],
    code: str,
    said: str,
) -> None:
    answer = post(gateway, form(*parts))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code) and said in error["message"]
    assert not heard


@pytest.mark.parametrize(
    "kind",
    ["audio/wav", "video/mp4", "application/octet-stream", "application/x-www-form-urlencoded"],
)
def test_who_sends_the_bare_sound_learns_of_the_form(
    gateway: RunningGateway, heard: list[bytes], kind: str
) -> None:
    answer = post(gateway, b"RIFF", kind)
    assert answer.status_code == 415 and "multipart/form-data" in answer.json()["error"]["message"]


def test_a_file_of_the_server_below_the_folder(
    scheduler: ScriptedScheduler, home: Path, heard: list[bytes], tmp_path: Path
) -> None:
    """As Foundry Local's clients send it: with the path, in JSON."""
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    (sounds / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.wav").write_bytes(b"secret")
    with (
        RunningGateway(scheduler.endpoint, home, audio_folder=str(sounds)) as gateway,
        gateway.http() as http,
    ):

        def ask(filename: str) -> int:
            return http.post(PATH, json={"model": MODEL, "filename": filename}).status_code

        assert (ask(str(sounds / "a.wav")), ask(str(tmp_path / "b.wav"))) == (200, 400)
    assert heard == [b"sound"]
