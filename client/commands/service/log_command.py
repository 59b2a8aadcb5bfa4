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
from cupola.client.terminal.output import Form, Output, print_json, report_success

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


def level(
    wanted: Annotated[str, typer.Argument(metavar="LEVEL", help="debug, info, warning or error.")],
    output: Output = Form.TEXT,
) -> None:
    """Change how much the running service logs, until it ends.

    Example: cupola service log-level debug
    """
    from cupola.client import http
    from cupola.client.running_service import find

    service = find(home.current())
    if service is None:
        raise ClientError("No service is running", "Start one with: cupola service start")
    reply = http.request("POST", service.url, "/admin/log-level", 5.0, {"level": wanted.lower()})
    if reply.status != 200:
        raise ClientError(f"The service did not take the level '{wanted}'")
    report_success(f"The service logs {wanted.lower()} and above now", output)


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
