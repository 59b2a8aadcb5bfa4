"""A download in a process of its own: how it ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from cupola.cache.home import Home
from cupola.cache.install.download import Told, command

PATIENCE = 60.0  # seconds until a test gives up


def test_it_ends_quietly_while_the_asker_still_listens(tmp_path: Path) -> None:
    words = command(Home(tmp_path), "nowhere", force=False)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        told = [msgspec.json.decode(line, type=Told) for line in child.stdout]
        assert child.wait(PATIENCE) == 0
        assert child.stderr.read() == b""
    assert told[-1].done and "nowhere" in told[-1].error
