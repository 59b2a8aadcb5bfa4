"""``cupola transcribe`` with several recordings, in this process, against a scripted service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cupola.client.commands.common import connection, local_model
from cupola.client.commands.transcribe_command import transcribe
from cupola.client.running_service import RunningService


class Scripted(BaseHTTPRequestHandler):
    """Hears whatever does not say that it is no sound."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if b"no sound" in body:
            error = {"message": "It is no sound file", "param": "file"}
            self._answer(400, json.dumps({"error": error}))
        elif b"no model" in body:
            self._answer(404, json.dumps({"error": {"message": "Gone", "param": "model"}}))
        else:
            done = {"type": "transcript.text.done", "text": "Hello.", "usage": {}}
            done["transcription"] = {"text": "Hello."}
            self._answer(200, f"data: {json.dumps(done)}\n\n")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Runs the command for files of these contents."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        service = RunningService(f"http://127.0.0.1:{server.server_port}", 1)
        model = SimpleNamespace(variant=SimpleNamespace(id="w"))
        monkeypatch.setattr(connection, "running", lambda folder: service)
        monkeypatch.setattr(local_model, "ensure", lambda folder, name: model)
        app = typer.Typer()
        app.command()(transcribe)

        def invoke(contents: list[str], *options: str) -> Result:
            for number, content in enumerate(contents):
                (tmp_path / f"{number}.wav").write_text(content)
            monkeypatch.chdir(tmp_path)
            return CliRunner().invoke(app, [f"{n}.wav" for n in range(len(contents))] + [*options])

        yield invoke
        server.shutdown()


def test_one_bad_recording_does_not_keep_the_others_back(run: Any) -> None:
    done = run(["sound", "no sound", "sound"])
    assert done.exit_code == 1
    assert done.stdout == "0.wav:\nHello.\n2.wav:\nHello.\n"
    assert done.stderr == "cupola: 1.wav: It is no sound file\n"


def test_what_concerns_them_all_ends_the_command(run: Any) -> None:
    done = run(["no model", "sound"])
    assert done.exit_code == 1 and done.stdout == ""
    assert "0.wav: Gone" in str(done.exception)


@pytest.mark.parametrize("options", [("--format", "json"), ("--output", "json")])
def test_several_in_json_are_a_line_each(run: Any, options: tuple[str, str]) -> None:
    lines = [json.loads(line) for line in run(["sound", "sound"], *options).stdout.splitlines()]
    assert [(line["file"], line["text"]) for line in lines] == [
        ("0.wav", "Hello."),
        ("1.wav", "Hello."),
    ]


def test_one_in_json_is_as_the_api_answers(run: Any) -> None:
    assert json.loads(run(["sound"], "--format", "json").stdout) == {"text": "Hello.", "usage": {}}
    assert json.loads(run(["sound"], "--format", "verbose_json").stdout) == {"text": "Hello."}
