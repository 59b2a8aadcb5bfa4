"""What is shown of a download or a conversion where standard error is no terminal."""

from __future__ import annotations

import pytest

from cupola.cache.install.messages import InstallProgress
from cupola.client.terminal.progress import shown

WAITS = "Waiting for another process that installs this model..."


@pytest.mark.parametrize(
    ("stages", "lines"),
    [
        ("check wait convert convert", ["Checking...", "Converting..."]),
        ("wait download", ["Downloading..."]),
        ("check wait wait convert", ["Checking...", WAITS, "Converting..."]),
        ("wait wait wait", [WAITS]),
        ("wait convert wait wait", ["Converting...", WAITS]),  # another one's, and its end
    ],
)
def test_only_who_waits_says_so(
    stages: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with shown() as show:
        for stage in stages.split():
            show(InstallProgress(stage))
    assert capsys.readouterr().err.splitlines() == lines
