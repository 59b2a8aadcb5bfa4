"""Chatting in a pipe and on a terminal, over a real service that echoes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from typer.main import get_command

from cupola.cache.home import Home
from cupola.client.commands import conversation, main
from cupola.client.running_service import Ending, RunningService
from tests.client.command_line import Cli, bounded, read_until, start_interruptible
from tests.service.running_service import eventually

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")
ENDLESS = "word " * 200_000  # the echo says one word a step


def test_a_prompt_starts_the_service_and_prints_the_answer(echoing: Cli, model: str) -> None:
    assert echoing.ok("model", "run", "--prompt", "three little words") == "three little words \n"
    assert "is running on" in echoing.ok("service", "status")
    # The service is there already, the model is named in full.
    assert echoing.ok("model", "run", model, "--prompt", "again") == "again \n"


def test_a_pipe_is_a_conversation(echoing: Cli, model: str) -> None:
    answers = echoing.ok("model", "run", typed="one\n\n/help\n/nonsense\ntwo words\n/exit\nthree\n")
    lines = answers.splitlines()
    assert (lines[0], lines[-1]) == ("one ", "two words ")
    assert any(line.startswith("/exit") for line in lines)
    assert "There is no command /nonsense. Enter /help for help." in lines


def test_options_reach_the_request(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole body, as the service would get it."""
    asked: list[tuple[str, list[dict[str, str]], dict[str, Any]]] = []

    def answer(
        service: object, model: str, messages: list[dict[str, str]], **options: Any
    ) -> Generator[str, None, Ending]:
        asked.append((model, messages, options))
        yield "fine"
        return Ending("stop", {})

    variant = SimpleNamespace(variant=SimpleNamespace(id="m:1"))
    monkeypatch.setattr(conversation, "ensure", lambda *_: variant)
    monkeypatch.setattr(conversation, "running", lambda *_: RunningService("http://127.0.0.1:1", 1))
    monkeypatch.setattr(conversation, "chat", answer)
    schema = home.root / "schema.json"
    schema.parent.mkdir()
    schema.write_bytes(b'\xef\xbb\xbf{"type": "object"}')
    sampling = ["--max-tokens", "7", "--temperature", "0", "--seed", "5"]
    for given in ('{"type": "object"}', str(schema)):
        command: Any = get_command(main.build())
        arguments = ["run", "m", "hello", "--system", "Be brief.", *sampling]
        command([*arguments, "--json-schema", given], standalone_mode=False)
        assert asked.pop() == (
            "m:1",
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hello"},
            ],
            {
                "max_completion_tokens": 7,
                "temperature": 0.0,
                "seed": 5,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                },
            },
        )


def test_a_limit_on_tokens(echoing: Cli, model: str) -> None:
    text = echoing.ok("run", model, "one two three four", "--max-tokens", "2")
    assert text == "one two \n"
    record = json.loads(
        echoing.ok("run", model, "one two three", "--max-tokens", "2", "-o", "json")
    )
    assert (record["text"], record["finishReason"]) == ("one two ", "length")
    assert record["usage"]["completionTokens"] == 2
    assert "--max-tokens" in echoing.refused("run", model, "x", "--max-tokens", "0", status=2)


def test_what_the_service_refuses_is_told(echoing: Cli, model: str) -> None:
    assert "told to refuse" in echoing.refused("model", "run", "--prompt", "echo:refuse")
    assert "did you mean" in echoing.refused("model", "run", "smollm", "--prompt", "x")


@posix
def test_ctrl_c_cancels_the_answer_and_not_the_program(echoing: Cli, model: str) -> None:
    echoing.ok("service", "start")
    with (
        start_interruptible(
            ["model", "run"],
            echoing.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        ) as chat,
        bounded(chat),
    ):
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write(ENDLESS.strip() + "\n")
        chat.stdin.flush()
        pieces = iter(lambda: chat.stdout.read(1), "")  # type: ignore[union-attr]
        read_until(pieces, "word word")
        chat.send_signal(signal.SIGINT)
        read_until(pieces, "[cancelled]")
        chat.stdin.write("still here\n/exit\n")
        chat.stdin.close()
        assert read_until(pieces, "here") == "\nstill here"
        assert chat.wait() == 0


@posix
def test_a_terminal(echoing: Cli, model: str) -> None:
    import pty

    echoing.ok("service", "start")
    ours, theirs = pty.openpty()
    with (
        start_interruptible(
            ["model", "run"],
            {**echoing.environment, "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as chat,
        bounded(chat),
    ):
        os.close(theirs)
        pieces = iter(lambda: os.read(ours, 4096).decode("utf-8", "replace"), "")
        read_until(pieces, "> ")
        os.write(ours, b"hello there\n")
        read_until(pieces, "hello there\r\nhello there \r\n\r\n> ")
        # readline misses a signal that comes after the prompt and before it waits for a key.
        eventually(lambda: psutil.Process(chat.pid).status() == psutil.STATUS_SLEEPING)
        chat.send_signal(signal.SIGINT)
        read_until(pieces, "Type /exit to leave the chat.\r\n\r\n> ")
        os.write(ours, b"/exit\n")
        assert chat.wait() == 0
    os.close(ours)
