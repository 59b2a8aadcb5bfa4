"""``cupola top``: the workers, their models and the queue, as they are now."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.common.options import finite
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output, print_json


def top(
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds", "-s", min=0.1, max=3600, callback=finite, help="Between two looks."
        ),
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print, and end.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Watch the workers, the models and the queue of the running service. Ctrl+C ends it.

    Example: cupola top
    """
    from cupola.client.running_service import find
    from cupola.client.sdk.connection import Connection

    service = find(home.current())
    if service is None:
        raise ClientError("No service is running", "Start one with: cupola service start")
    connection = Connection(service.url, 5.0)

    def look() -> dict[str, Any]:
        return dict(connection.get("/admin/state"))

    if output is Form.JSON:
        print_json(look())
        return
    from cupola.client.terminal.state_view import StateView

    view = StateView(service.url)
    view.update(look(), time.monotonic())
    if once or not sys.stdout.isatty():
        time.sleep(min(seconds, 1.0))
        view.update(look(), time.monotonic())
        view.print()
        return
    with view.live():
        while True:
            time.sleep(seconds)
            view.update(look(), time.monotonic())
