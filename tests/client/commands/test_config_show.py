"""``cupola config show`` on a terminal stays within its width."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys

import pytest

from cupola.cache.home import Home
from cupola.service.settings.texts import FIELDS, summary
from tests.client.command_line import COMMAND, LONGEST, Cli

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has terminals of POSIX")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(cli: Cli, width: int, *arguments: str) -> list[str]:
    """The lines that a command prints on a terminal of ``width`` columns."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    clean = {
        key: value for key, value in cli.environment.items() if key not in ("COLUMNS", "LINES")
    }
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env={**clean, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as command:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the terminal's last user has gone
                break
            text += piece
        assert command.wait(LONGEST) == 0
    os.close(ours)
    return [line.rstrip() for line in _STYLE.sub("", text.decode()).splitlines()]


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_config_show_stays_within_the_width(cupola: Cli, home: Home, width: int) -> None:
    home.root.mkdir()
    home.settings_file.write_text("slots = 3\n")
    lines = on_a_terminal(cupola, width, "config", "show")
    assert max(map(len, lines)) <= width
    begun = [line.split()[0] for line in lines if line.strip() and not line.startswith(" ")]
    assert set(FIELDS) <= set(begun)  # names are whole
    text = " ".join(" ".join(lines).split())
    assert width > 200 or all(summary(key) in text for key in FIELDS)
    assert str(home.settings_file) in "".join(line.strip() for line in lines)
