"""``cupola config``: shows the settings and where each value comes from, and changes the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cupola.client import home
from cupola.client.commands.common.completion import OWN_KEYS, settings, values
from cupola.client.errors import ClientError
from cupola.client.terminal.output import (
    Column,
    Form,
    Output,
    print_json,
    print_table,
    report_success,
)

Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="A setting: see cupola config show.", autocompletion=settings
    ),
]

FOLDER, _IDLE = OWN_KEYS


def show(
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Print every setting, its value and its source.

    A setting comes from a variable (CUPOLA_PORT), from cupola.toml or from its default.
    'cupola serve --help' explains each setting in full.

    Example: CUPOLA_PORT=8080 cupola config show
    """
    from cupola.client import models_folder
    from cupola.service.settings.sources import DEFAULT, load
    from cupola.service.settings.texts import summary

    resolved = load()
    values: dict[str, Any] = resolved.settings.model_dump(mode="json")
    sources = dict(resolved.sources)
    meanings = {key: summary(key) for key in values}
    folder = home.current()
    values[FOLDER] = str(models_folder.location(folder))
    sources[FOLDER] = "link" if models_folder.is_chosen(folder) else DEFAULT
    meanings[FOLDER] = "The folder of the models; to change it: cupola cache cd FOLDER"
    if as_json or output is Form.JSON:
        print_json(
            [
                {"key": k, "value": v, "source": sources[k], "userSet": sources[k] != DEFAULT}
                for k, v in values.items()
            ]
        )
        return
    rows = [[key, _text(value), sources[key], meanings[key]] for key, value in values.items()]
    print_table(
        [Column("Setting"), Column("Value"), Column("Source"), Column("Meaning", is_prose=True)],
        rows,
    )


def change(
    key: Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="Its new value.", autocompletion=values)
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    output: Output = Form.TEXT,
) -> None:
    """Change a setting in cupola.toml. A running service reads it when it starts again.

    These keys of Foundry Local work as well: port (auto), cache-directory, idle-timeout-minutes,
    log-level.

    Example: cupola config set port 8080
    """
    folder = home.current()
    if _name(key) == _name(FOLDER):
        from cupola.client import models_folder

        models_folder.choose(folder, Path(value))
    else:
        store(*_own_words(key, value), source="the argument VALUE")
    report_success(f"Saved: {key} = {value}", output)


def reset(key: Key, output: Output = Form.TEXT) -> None:
    """Remove a setting from cupola.toml, so that its default applies.

    Example: cupola config reset port
    """
    from cupola.client import models_folder, settings_file

    folder = home.current()
    if _name(key) == _name(FOLDER):
        was_set = models_folder.forget(folder)
    else:
        was_set = settings_file.drop(folder.settings_file, _known(key))
    report_success(f"Reset: {key}" if was_set else f"{key} was not set", output)


def store(key: str, value: str, source: str = "") -> None:
    """Check a setting and write it to the file. Raises SettingsError, ClientError.

    ``source``: what gave the value; empty: the flag of the setting's name.
    """
    from cupola.client import settings_file
    from cupola.service.settings.sources import load
    from cupola.service.settings.texts import flag

    if key == "home":
        raise ClientError("The data folder is not set in its own file", "Set CUPOLA_HOME instead")
    checked = getattr(load({key: value}, lambda key: source or flag(key)).settings, key)
    settings_file.put(home.current().settings_file, key, checked)


def _own_words(key: str, value: str) -> tuple[str, str]:
    """Cupola's key and value for a key and a value that may be Foundry Local's."""
    if _name(key) == _name(_IDLE):
        try:
            return "model_ttl", f"{float(value) * 60:g}"
        except ValueError:
            raise ClientError(f"{key} is a number of minutes, not '{value}'") from None
    name = _known(key)
    return name, "0" if (name, value) == ("port", "auto") else value


def _known(key: str) -> str:
    """The setting that a key means. Raises SettingsError, with similar names, if there is none."""
    from cupola.service.settings.sources import check_known

    name = "model_ttl" if _name(key) == _name(_IDLE) else _name(key)
    check_known(name)
    return name


def _name(key: str) -> str:
    return key.strip().lower().replace("-", "_")


def _text(value: object) -> str:
    # 600.0 reads as 600; an empty text would look like a missing cell
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
