"""The commands ``cupola`` and ``foundry``, which are the same program.

This file and those of the command groups import nothing heavy: what a command needs it imports
when it runs, so that help and listings come at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cupola.client import cache, config, home, models, service
from cupola.client.errors import ClientError
from cupola.client.serve import serve

_HELP = """Cupola: language models on this machine, served to many apps at once.

An open, drop-in Foundry Local on ONNX Runtime, with OpenAI's API.

Example: cupola serve, and in another terminal: cupola model run

Tested on Linux. Windows and macOS are meant to work and are untested.
"""

_GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "service": (
        "Start, stop and look at the background service.",
        {
            "start": service.start,
            "stop": service.stop,
            "restart": service.restart,
            "status": service.status,
            "logs": service.logs,
        },
    ),
    "model": (
        "List, fetch, import, remove and run models.",
        {
            "list": models.list_models,
            "ls": models.list_models,
            "info": models.info,
            "download": models.download,
            "import": models.import_file,
            "remove": models.remove,
            "run": models.run,
        },
    ),
    "cache": (
        "Look at the models on this disk.",
        {
            "list": cache.list_cached,
            "ls": cache.list_cached,
            "location": cache.location,
            "remove": cache.remove,
        },
    ),
    "config": ("Show the settings and where they come from.", {"show": config.show}),
}
_ALIASES = {"ls"}  # left out of the help


def build() -> typer.Typer:
    """The command line; its help is drawn with rich on a terminal, and plain elsewhere."""
    common: dict[str, Any] = {
        "no_args_is_help": True,
        "context_settings": {"help_option_names": ["--help", "-h"]},
    }
    app = typer.Typer(
        help=_HELP,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        pretty_exceptions_enable=False,
        **common,
    )
    app.callback()(_before)
    app.command()(serve)
    for name, (text, commands) in _GROUPS.items():
        group = typer.Typer(help=text, **common)
        for command, function in commands.items():
            group.command(command, hidden=command in _ALIASES)(function)
        app.add_typer(group, name=name)
    return app


def main() -> NoReturn:
    """Run the command line; a failure that can be expected is a line or two and status 1."""
    for stream in (sys.stdout, sys.stderr):
        # Programs read this output as UTF-8, whatever the language of the system is.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        build()()
        status = 0
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the line that was begun ends here
        status = 130
    except BrokenPipeError:
        # Who read the output has gone; Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        advice = _advice(error)
        if advice is None:
            raise
        print(f"cupola: {error}", file=sys.stderr)
        if advice:
            print(advice, file=sys.stderr)
        status = 1
    sys.exit(status)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("cupola"))
        raise typer.Exit


def _before(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--home", show_default="~/.foundry", help="Folder of models, logs and settings."
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print the version."),
    ] = False,
) -> None:
    if folder is not None:  # for this command, and for the service that it may start
        os.environ[home.VARIABLE] = str(folder)


def _advice(error: Exception) -> str | None:
    """What to do about a failure; None when it is a defect of this program."""
    if isinstance(error, ClientError):
        return error.hint
    from cupola.cache.catalog import UnknownModelError
    from cupola.cache.errors import CacheError, NotCachedError

    if isinstance(error, UnknownModelError):
        return "To see what there is: cupola model list"
    if isinstance(error, NotCachedError):
        return f"To fetch it: cupola model download {error.model_id}"
    from cupola.gateway.settings import SettingsError

    if isinstance(error, SettingsError):
        return "To see every setting: cupola config show"
    return "" if isinstance(error, CacheError | OSError) else None


if __name__ == "__main__":
    main()
