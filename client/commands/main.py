"""The commands ``cupola`` and ``foundry``, which are the same program.

This file and those of the command groups import nothing heavy: what a command needs it imports
when it runs, so that help and listings come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from cupola.cache.system import standard_streams
from cupola.client import home
from cupola.client.commands import run_command, transcribe_command
from cupola.client.commands.common.command_group import CommandGroup
from cupola.client.commands.decisions.calibrate_command import calibrate
from cupola.client.commands.decisions.decide_command import decide
from cupola.client.commands.measure import bench_command, simulate_command, tune_command
from cupola.client.commands.models import (
    cache_command,
    cache_upkeep_command,
    model_command,
    model_list_command,
    model_load_command,
    quantize_command,
)
from cupola.client.commands.service import (
    config_command,
    devices_command,
    keys_command,
    log_command,
    server_command,
    service_command,
    service_unit_command,
    status_command,
    top_command,
    workers_command,
)
from cupola.client.commands.service.serve_command import serve
from cupola.client.commands.service.setting_flags import SettingCommand
from cupola.client.terminal.failures import tell, words
from cupola.client.terminal.output import Form, Output, asked_form, print_json

_HELP = """Cupola: language models on this machine, served to many apps at once.

An open, drop-in Foundry Local on ONNX Runtime, with OpenAI's API.

Example: cupola serve, and in another terminal: cupola model run

Tested on Linux. Windows and macOS are meant to work and are untested.
"""

Commands = dict[str, Callable[..., None]]

_COMMANDS: Commands = {
    "serve": serve,
    "run": run_command.run,
    "chat": run_command.chat,
    "complete": run_command.complete,
    "decide": decide,
    "bench": bench_command.bench,
    "simulate": simulate_command.simulate,
    "tune": tune_command.tune,
    "transcribe": transcribe_command.transcribe,
    "devices": devices_command.devices,
    "status": status_command.status,
    "top": top_command.top,
    "report": status_command.report,
    "zip-logs": status_command.zip_logs,
}
_GROUPS: dict[str, tuple[str, Commands]] = {
    "service": (
        "Start, stop and look at the background service.",
        {
            "start": service_command.start,
            "stop": service_command.stop,
            "restart": service_command.restart,
            "status": service_command.status,
            "ps": model_load_command.ps,
            "list": model_load_command.ps,
            "logs": log_command.logs,
            "diag": log_command.logs,
            "log-level": log_command.level,
            "set": service_command.change,
            "install": service_unit_command.install,
            "uninstall": service_unit_command.uninstall,
        },
    ),
    "server": (
        "The same service, in the words of newer clients.",
        {
            "start": service_command.start,
            "stop": server_command.stop,
            "restart": service_command.restart,
            "status": server_command.status,
            "logs": log_command.logs,
        },
    ),
    "model": (
        "List, fetch, import, load, remove and run models.",
        {
            "list": model_list_command.list_models,
            "ls": model_list_command.list_models,
            "info": model_command.info,
            "show": model_command.info,
            "download": model_command.download,
            "import": model_command.import_file,
            "quantize": quantize_command.quantize,
            "search": model_list_command.search,
            "load": model_load_command.load,
            "unload": model_load_command.unload,
            "calibrate": calibrate,
            "remove": model_command.remove,
            "run": run_command.run,
        },
    ),
    "cache": (
        "Look at the models on this disk, check them and make room.",
        {
            "list": cache_command.list_cached,
            "ls": cache_command.list_cached,
            "location": cache_command.location,
            "pwd": cache_command.location,
            "cd": cache_command.cd,
            "remove": cache_command.remove,
            "rm": cache_command.remove,
            "clear": cache_command.clear,
            "adopt": cache_upkeep_command.adopt,
            "prune": cache_upkeep_command.prune,
            "verify": cache_upkeep_command.verify,
        },
    ),
    "keys": (
        "Make and remove the API keys of a service that others can reach.",
        {"add": keys_command.add, "list": keys_command.list_keys, "remove": keys_command.remove},
    ),
    "workers": (
        "List, add, drain, restart and remove the workers of the running service.",
        {
            "list": workers_command.list_workers,
            "add": workers_command.add,
            "drain": workers_command.drain,
            "restart": workers_command.restart,
            "remove": workers_command.remove,
        },
    ),
    "config": (
        "Show and change the settings.",
        {"show": config_command.show, "set": config_command.change, "reset": config_command.reset},
    ),
}
_ALIASES = {"ls", "rm", "pwd", "show", "diag", "zip-logs"}  # left out of the help
_SHOWN = {("config", "show")}
_START = {
    serve,
    service_command.start,
    service_command.restart,
}  # these take every setting as a flag

# typer brings its own copy of click from some version on: this is the class in either.
_USAGE_ERROR: Any = typer.BadParameter.__base__


def build(first: str = "") -> typer.Typer:
    """The command line; its help is drawn with rich on a terminal, and plain elsewhere.

    ``first``: the first argument. Of a command or a group only that one is made: all of them take
    as long as a short command.
    """
    known = first in _COMMANDS or first in _GROUPS
    common: dict[str, Any] = {
        "no_args_is_help": True,
        "context_settings": {"help_option_names": ["--help", "-h", "-?"]},
        "cls": CommandGroup,
    }
    app = typer.Typer(
        help=_HELP,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        pretty_exceptions_enable=False,
        **common,
    )
    app.callback()(_before)
    for name, function in _COMMANDS.items():
        if known and name != first:
            continue
        app.command(name, cls=_class_of(function), hidden=name in _ALIASES)(function)
    for name, (text, commands) in _GROUPS.items():
        if known and name != first:
            continue
        group = typer.Typer(help=text, **common)
        for command, function in commands.items():
            hidden = command in _ALIASES and (name, command) not in _SHOWN
            group.command(command, cls=_class_of(function), hidden=hidden)(function)
        app.add_typer(group, name=name)
    return app


def _class_of(function: Callable[..., None]) -> type[TyperCommand]:
    return SettingCommand if function in _START else TyperCommand


def main() -> NoReturn:
    """Run the command line; a failure that can be expected is a line or two and status 1."""
    standard_streams.use_utf8()
    arguments = sys.argv[1:]
    form = asked_form(arguments)
    status = _run(arguments, form)
    if failed := standard_streams.flush():
        status = status or 1
        if not isinstance(failed, BrokenPipeError):  # who read the output has gone: that is all
            tell(f"The output cannot be written: {failed.strerror}", "", Form.TEXT)
    sys.exit(status)


def _run(arguments: list[str], form: Form) -> int:
    """The exit status of a command. What it says of a failure is in the ``form`` asked for."""
    try:
        # typer tells usage errors itself, but only as text.
        app = build(arguments[0] if arguments else "")
        return int(app(arguments, standalone_mode=form is Form.TEXT) or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the line that was begun ends here
        return 130
    except BrokenPipeError:
        return 1
    except typer.Abort:
        tell("Aborted", "", form)
        return 1
    except Exception as error:
        if isinstance(error, _USAGE_ERROR):
            tell(error.format_message(), "Add --help to see the usage", form)
            return 2
        told = words(error)
        if told is None:
            if form is Form.JSON:
                tell(f"This is a defect of Cupola: {error!r}", "To report it: cupola report", form)
            raise
        tell(*told, form)
        return 1


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        installed = version("cupola")
        if asked_form(sys.argv[1:]) is Form.JSON:
            print_json({"version": installed})
        else:
            print(installed)
        raise typer.Exit


def _before(
    context: typer.Context,
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
    output: Output = Form.TEXT,
) -> None:
    if folder is not None:  # for this command, and for the service that it may start
        os.environ[home.VARIABLE] = str(folder)
    if output is not Form.TEXT:  # the default of every command's own option
        wanted: dict[str, Any] = {"output": output.value}
        context.default_map = dict.fromkeys(_COMMANDS, wanted) | {
            name: dict.fromkeys(commands, wanted) for name, (_, commands) in _GROUPS.items()
        }


if __name__ == "__main__":
    main()
