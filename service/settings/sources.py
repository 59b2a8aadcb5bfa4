"""Where the values of the settings come from.

Flags go before environment variables (``CUPOLA_…``), these before ``cupola.toml`` in the home
folder, and that before the defaults. Nothing here starts or creates anything.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from cupola.cache.home import Home
from cupola.service.settings.settings import PREFIX, Settings, SettingsError
from cupola.service.settings.texts import allowed, flag, variable
from cupola.service.settings.worker_tables import WRONG_TABLE, wrong_table

DEFAULT = "default"
PATHS = {"home", "uds", "tls_certificate", "tls_key"}
# Variables of the same prefix that are not settings: for the tests, for comparing with peers, and
# keys, which no list of the settings may show.
_NO_SETTING = re.compile(r"CUPOLA_(TESTS?_.*|PEERS|API_KEY|ADMIN_KEY)")


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each is from: ``--port``, ``CUPOLA_PORT``, a file's path, ``default``."""

    settings: Settings
    sources: Mapping[str, str]


def load(flags: Mapping[str, Any] | None = None, source: Callable[[str], str] = flag) -> Resolved:
    """Settings from flags (None = not given), environment, file and defaults, in this order.

    ``source``: what gave the flag of a setting. Raises SettingsError.
    """
    from_flags = _from_flags(flags or {})
    from_environment = _from_environment()
    file = _settings_file(from_flags.get("home", from_environment.get("home")))
    from_file = _from_file(file)
    sources = (
        dict.fromkeys(Settings.model_fields, DEFAULT)
        | dict.fromkeys(from_file, str(file))
        | {key: variable(key) for key in from_environment}
        | {key: source(key) for key in from_flags}
    )
    try:
        return Resolved(Settings(**from_file | from_environment | from_flags), sources)
    except ValidationError as error:
        # a setting of several types has one error for each
        lines = dict.fromkeys(_told(item, sources) for item in error.errors())
        raise SettingsError("\n".join(lines)) from None


def _told(error: ErrorDetails, sources: Mapping[str, str]) -> str:
    key = str(error["loc"][0])
    if error["type"] == WRONG_TABLE:
        return wrong_table(error["ctx"], sources[key])
    return f"{key} = {error['input']!r} ({sources[key]}) is not allowed: it must be {allowed(key)}"


def environment(flags: Mapping[str, Any]) -> dict[str, str]:
    """Flags as the variables that hand them to another process, whatever its working folder.

    Raises SettingsError for an unknown key; values are not checked.
    """
    given = _from_flags(flags)
    for key in PATHS & given.keys():
        if given[key]:
            given[key] = Path(given[key]).expanduser().absolute()
    return {variable(key): str(value) for key, value in given.items()}


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in flags.items() if value is not None}
    _refuse_unknown(given, Settings.model_fields, "the command line", flag)
    return given


def _from_environment() -> dict[str, Any]:
    names = [name.upper() for name in os.environ if name.upper().startswith(PREFIX)]
    keys = [name.removeprefix(PREFIX).lower() for name in names if not _NO_SETTING.fullmatch(name)]
    _refuse_unknown(keys, Settings.model_fields, "the environment", variable)
    return EnvSettingsSource(Settings)()


def _settings_file(home: str | Path | None) -> Path:
    return Home(Path(home).expanduser() if home else Home.default().root).settings_file


def _from_file(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text("utf-8-sig"))  # it may begin with a byte order mark
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError:
        raise SettingsError(f"{file} cannot be read: it is not UTF-8; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    if "home" in found:
        text = f"home ({file}) cannot be set in the file that it leads to; set CUPOLA_HOME, or give"
        raise SettingsError(f"{text} --home, and remove the line")
    known = [key for key in Settings.model_fields if key != "home"]
    _refuse_unknown(found, known, str(file), str)
    return found


def check_known(key: str) -> None:
    """Raises SettingsError, with similar names, if no setting has the name ``key``."""
    _refuse_unknown([key], Settings.model_fields, "", str)


def _refuse_unknown(
    keys: Iterable[str], known: Iterable[str], source: str, name: Callable[[str], str]
) -> None:
    known = list(known)
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            hint = "did you mean " + " or ".join(map(name, near)) if near else "there are "
            hint += "?" if near else ", ".join(map(name, known))
            where = f" ({source})" if source else ""
            raise SettingsError(f"{name(key)}{where} is not a setting; {hint}")
