"""Chatting in a pipe and on a terminal, over a real service that echoes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

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
