"""What ``cupola decide`` refuses, it refuses before it fetches a model or starts a service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.client.command_line import run_here


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "There is no input"),
        (["--text", ""], "There is no input"),
        (["--text", "a", "--file", "b"], "exclude each other"),
        (["--file", "missing"], "cannot be read: No such file"),
    ],
)
def test_without_an_input_nothing_is_started(tmp_path: Path, options: list[str], told: str) -> None:
    home = tmp_path / "home"
    # No model has this name: who looks for it first tells that.
    asked = ["decide", "nowhere", "--question", "Late?", *options]
    made = run_here({**os.environ, "CUPOLA_HOME": str(home)}, asked, "")
    assert made.returncode == 1
    assert told in made.stderr
    assert not home.exists()
