"""``cupola service install`` and ``uninstall``: a systemd unit that starts at the user's login."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from cupola.cache.home import Home
from cupola.client import home
from cupola.client.errors import ClientError
from cupola.client.terminal.output import Form, Output, print_json, report_success

NAME = "cupola.service"


def install(
    show: Annotated[bool, typer.Option("--print", help="Print the unit, write nothing.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Write a systemd unit, so that the service starts when you log in.

    Example: cupola service install
    """
    text = unit(home.current(), _variables())
    if show:
        if output is Form.JSON:
            print_json({"unit": text})
        else:
            print(text, end="")
        return
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", errors="surrogateescape")  # a folder's name may be any bytes
    _reload()
    report_success(f"Wrote {path}", output, path=str(path))
    if output is Form.TEXT:
        print(f"To start it now and at every login: systemctl --user enable --now {NAME}")


def uninstall(output: Output = Form.TEXT) -> None:
    """Remove the systemd unit.

    Example: cupola service uninstall
    """
    path = _path()
    if not path.exists():
        raise ClientError(f"There is no unit {path}")
    path.unlink()
    _reload()
    report_success(f"Removed {path}", output, path=str(path))
    if output is Form.TEXT:
        print(f"If it runs: systemctl --user stop {NAME}")


def unit(folder: Home, variables: dict[str, str]) -> str:
    """The unit's text. ``variables`` are settings that the environment gives now."""
    from cupola.client.daemon import COMMAND

    given = {home.VARIABLE: str(folder.root)} | variables
    environment = "".join(f"Environment={_quoted(f'{k}={v}')}\n" for k, v in given.items())
    return f"""\
[Unit]
Description=Cupola, a local AI service
After=network.target

[Service]
Type=exec
ExecStart={" ".join(map(_quoted, COMMAND))}
{environment}Restart=on-failure
RestartSec=2
# The service ends its own processes in order, and gives answers time to finish.
KillMode=mixed
TimeoutStopSec=60
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""


def _variables() -> dict[str, str]:
    return {
        key: value
        for key, value in sorted(os.environ.items())
        if key.startswith("CUPOLA_") and key != home.VARIABLE
    }


def _path() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "systemd" / "user" / NAME


def _reload() -> None:
    """Let systemd look again, where there is one."""
    if program := shutil.which("systemctl"):
        subprocess.run([program, "--user", "daemon-reload"], capture_output=True, check=False)


def _quoted(text: str) -> str:
    """A word of a unit file; systemd expands % and reads backslashes and quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
