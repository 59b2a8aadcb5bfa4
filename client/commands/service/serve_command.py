"""``cupola serve``: makes sure that the model is there, then becomes the service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import NoReturn

import typer

from cupola.client.commands.service import setting_flags
from cupola.client.terminal.output import Form, Output


def serve(context: typer.Context, output: Output = Form.TEXT) -> None:
    """Serve a model on this machine until Ctrl+C.

    The first start downloads the default model, about 100 MB, and converts it.

    Every setting is a flag, a variable (CUPOLA_PORT) and a key of cupola.toml.

    Example: cupola serve --port 8080 --workers 2
    """
    flags = setting_flags.given(context)
    from cupola.cache.home import Home
    from cupola.service.settings.sources import environment, load

    settings = load(flags).settings
    if settings.model and settings.backend != "echo":
        from cupola.client.commands.common.local_model import ensure

        ensure(Home(settings.home), settings.model)
    become_service(environment(flags), output)


def become_service(environment: Mapping[str, str], output: Form) -> NoReturn:
    """Go on as the service, so that Ctrl+C and signals reach one program only."""
    from cupola.client.daemon import COMMAND

    sys.stdout.flush()
    sys.stderr.flush()
    command = [*COMMAND, "--json"] if output is Form.JSON else COMMAND
    complete = {**os.environ, **environment}
    if os.name == "posix":
        os.execve(command[0], command, complete)
    # Windows' exec would give the terminal back while the service runs on.
    with subprocess.Popen(command, env=complete) as service:
        while True:
            try:
                sys.exit(service.wait())
            except KeyboardInterrupt:
                continue  # the service has got it too, and ends in its own time
