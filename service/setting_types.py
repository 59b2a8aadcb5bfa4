"""The types of settings: what a value may be, said as a check and in words.

A setting whose type says enough by itself, such as a number with limits, needs none of these.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.catalog_settings import pairs, pairs_text

_DEVICE = re.compile(rf"({'|'.join(each.name.lower() for each in ExecutionProvider)})(:\d{{1,3}})?")
_MAX_WORKERS = 64
_MAX_SLOTS = 1024
AUTO = "auto"


class Group(enum.StrEnum):
    """What a setting is about. Help and documents show the settings by group."""

    NETWORK = "network"
    MODELS = "models"
    ENGINE = "engine"
    MEMORY = "memory"
    SECURITY = "security"
    LOGGING = "logging"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Says in words what a setting may be, where its type and its limits do not."""

    text: str


ALLOWED_WORKERS = f"a count from 1 to {_MAX_WORKERS}, or a list of devices such as 'cpu:0,cuda:0'"


def devices(workers: str) -> tuple[str, ...]:
    """The device of every worker, e.g. ``("cpu:0", "cpu:0")`` for ``"2"`` or ``"cpu,cpu:0"``."""
    if workers.isdecimal():
        return ("cpu:0",) * int(workers)
    names = [name.strip() for name in workers.split(",")]
    return tuple(name if ":" in name else f"{name}:0" for name in names)


def listed(value: str) -> tuple[str, ...]:
    """The items of a setting that is a list."""
    return tuple(item.strip() for item in value.split(",") if item.strip())


def _as_text(value: Any) -> Any:
    # TOML has numbers and lists where the command line has text.
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value) if isinstance(value, int) else value


def _check_workers(value: str) -> str:
    names = value.split(",")
    count = int(value) if value.isdecimal() else len(names)
    known = value.isdecimal() or all(_DEVICE.fullmatch(name.strip()) for name in names)
    if not known or not 1 <= count <= _MAX_WORKERS:
        raise ValueError("not a list of workers")
    return value


def _check_slots(value: Any) -> Any:
    if value == AUTO:
        return value
    count = int(value)
    if count != float(value) or not 1 <= count <= _MAX_SLOTS:
        raise ValueError("not a number of slots")
    return count


def _check_aliases(value: str) -> str:
    if len(pairs(value)) != len(listed(value)):
        raise ValueError("not a list of names and what they mean")
    return value


def _check_ttl(value: float) -> float:
    if -1 < value < 0:
        raise ValueError("neither a duration nor -1")
    return value


def _check_folder(value: Any) -> Any:
    if value == "":  # pydantic would take it for the working directory
        raise ValueError("not a folder")
    return value


def _absolute(value: Path) -> Path:
    return value.expanduser().absolute()


def _absolute_or_empty(value: str) -> str:
    return str(_absolute(Path(value))) if value else ""


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Names = Annotated[str, BeforeValidator(_as_text)]
Aliases = Annotated[
    str,
    BeforeValidator(pairs_text),
    AfterValidator(_check_aliases),
    Allowed("a list of NAME=MODEL"),
]
Workers = Annotated[
    str, BeforeValidator(_as_text), AfterValidator(_check_workers), Allowed(ALLOWED_WORKERS)
]
Slots = Annotated[
    int | str,
    AfterValidator(_check_slots),
    Allowed(f"'{AUTO}' or a whole number from 1 up to {_MAX_SLOTS}"),
]
Ttl = Annotated[float, AfterValidator(_check_ttl), Allowed("a number of at least 0, or -1")]
Folder = Annotated[Path, BeforeValidator(_check_folder), AfterValidator(_absolute)]
SocketPath = Annotated[str, AfterValidator(_absolute_or_empty)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
