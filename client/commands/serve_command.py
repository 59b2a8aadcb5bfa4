"""``cupola serve``: makes sure that the model is there, then becomes the service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer


def serve(
    host: Annotated[
        str | None, typer.Option(show_default="127.0.0.1", help="Address to listen on.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(show_default="5273", help="Port; 0 takes any free one.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(show_default="smollm2-135m", help="Model to load at the start; '' for none."),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            show_default="cpu:0", help="Worker processes: a count, or devices: cpu:0,cpu:0."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(show_default="one for each core", help="Threads of all workers together."),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(show_default="16", help="Requests that a worker runs at once.")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(show_default="the model's own", help="Upper limit of the context length."),
    ] = None,
    gateways: Annotated[
        int | None, typer.Option(show_default="1", help="Gateway processes that share the port.")
    ] = None,
    queue_limit: Annotated[
        int | None, typer.Option(show_default="256", help="Requests that may wait.")
    ] = None,
    model_ttl: Annotated[
        float | None,
        typer.Option(show_default="600", help="Seconds an unused model stays loaded; -1 for ever."),
    ] = None,
    preload: Annotated[
        str | None, typer.Option(show_default="none", help="More models to load at the start.")
    ] = None,
    pinned: Annotated[
        str | None, typer.Option(show_default="none", help="Models that stay loaded.")
    ] = None,
    uds: Annotated[
        str | None, typer.Option(show_default="none", help="Unix socket to listen on as well.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(show_default="info", help="debug, info, warning or error.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(show_default="~/.foundry", help="Folder of models, logs and settings."),
    ] = None,
) -> None:
    """Serve a model on this machine until Ctrl+C.

    The first start fetches the default model, about 100 MB, and converts it.

    Every setting is also a variable (CUPOLA_PORT) and a key of cupola.toml.

    Example: cupola serve --port 8080 --workers 2
    """
    flags = locals().copy()  # the options are named after the settings
    from cupola.cache.home import Home
    from cupola.service.setting_sources import environment, load

    settings = load(flags).settings
    if settings.model and settings.backend != "echo":
        from cupola.client.commands.local_model import ensure

        ensure(Home(settings.home), settings.model)
    become_service(environment(flags))


def become_service(environment: Mapping[str, str]) -> NoReturn:
    """Go on as the service, so that Ctrl+C and signals reach one program only."""
    from cupola.client.daemon import COMMAND

    sys.stdout.flush()
    sys.stderr.flush()
    complete = {**os.environ, **environment}
    if os.name == "posix":
        os.execve(COMMAND[0], COMMAND, complete)
    # Windows' exec would give the terminal back while the service runs on.
    with subprocess.Popen(COMMAND, env=complete) as service:
        while True:
            try:
                sys.exit(service.wait())
            except KeyboardInterrupt:
                continue  # the service has got it too, and ends in its own time
