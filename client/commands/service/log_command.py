"""``cupola service logs``: the end of the background service's log, and what follows."""

from __future__ import annotations

import codecs
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cupola.client import home
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output, print_json

_LOOK_SECONDS = 0.5  # between two looks at a log that is followed


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl+C.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Print the end of the background service's log.

    Example: cupola service logs -n 100
    """
    from cupola.client.daemon import latest_log

    log = latest_log(home.current())
    if not log.exists():
        raise ClientError(
            f"There is no log in {home.current().logs}",
            "A service in the foreground logs to its terminal; one in the background writes a log: "
            "cupola service start",
        )
    text = log.read_bytes()
    last = text.decode("utf-8", "replace").splitlines()[-lines:]
    if output is Form.JSON:
        print_json({"logFile": str(log), "lines": last})
    else:
        print("\n".join(last), flush=True)
    if follow:
        _follow(log, len(text), output)


def _follow(log: Path, begin: int, output: Form) -> None:
    """Print what is written to the log from byte ``begin`` on, until Ctrl+C."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    with log.open("rb") as stream:
        stream.seek(begin)
        while True:
            *lines, rest = (rest + decoder.decode(stream.read())).split("\n")
            if lines and output is Form.JSON:
                print_json({"logFile": str(log), "lines": lines})
            elif lines:
                print("\n".join(lines))
            sys.stdout.flush()
            if log.stat().st_size < stream.tell():  # it was full, and the service has emptied it
                stream.seek(0)
            time.sleep(_LOOK_SECONDS)
