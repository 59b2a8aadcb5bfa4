"""The types of settings: what a value may be, said as a check and in words.

A setting whose type says enough by itself, such as a number with limits, needs none of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from cupola.cache.catalog_settings import pairs, pairs_text
from cupola.scheduler.protocol.pool import MAX_WORKERS
from cupola.service.settings.worker_tables import (
    DEVICE,
    MAX_SLOTS,
    WorkerTable,
    tables_of,
    whole_device,
)

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Says in words what a setting may be, where its type and its limits do not."""

    text: str


ALLOWED_WORKERS = f"a count from 1 to {MAX_WORKERS}, or a list of devices such as 'cpu:0,cuda:0'"


def worker_tables(workers: str | tuple[WorkerTable, ...]) -> tuple[WorkerTable, ...]:
    """The setting ``workers`` as tables: a count and a list of devices are short for them."""
    if not isinstance(workers, str):
        return workers
    if workers.isdecimal():
        return (WorkerTable(count=int(workers)),)
    names = [name.strip() for name in workers.split(",")]
    return tuple(WorkerTable(device=whole_device(name)) for name in names)


def listed(value: str) -> tuple[str, ...]:
    """The items of a setting that is a list."""
    return tuple(item.strip() for item in value.split(",") if item.strip())


def _as_text(value: Any) -> Any:
    # TOML has numbers and lists where the command line has text.
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ValueError("not a list of texts")
        return ",".join(value)
    return str(value) if isinstance(value, int) else value


def _as_workers(value: Any) -> Any:
    is_tables = isinstance(value, list) and any(isinstance(each, dict) for each in value)
    return tables_of(value) if is_tables else _as_text(value)


def _check_workers(value: str | tuple[WorkerTable, ...]) -> str | tuple[WorkerTable, ...]:
    if not isinstance(value, str):
        if sum(table.count for table in value) > MAX_WORKERS:
            raise ValueError("too many workers")
        return value
    names = value.split(",")
    count = int(value) if value.isdecimal() else len(names)
    known = value.isdecimal() or all(DEVICE.fullmatch(name.strip()) for name in names)
    if not known or not 1 <= count <= MAX_WORKERS:
        raise ValueError("not a list of workers")
    return value


def _check_slots(value: Any) -> Any:
    if value == AUTO:
        return value
    count = int(value)
    if count != float(value) or not 1 <= count <= MAX_SLOTS:
        raise ValueError("not a number of slots")
    return count


def _as_aliases(value: Any) -> Any:
    if isinstance(value, dict):
        for name, meaning in value.items():
            if not isinstance(meaning, str) or "=" in name:
                raise ValueError("not a table of names and what they mean")
    return pairs_text(value)


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


Names = Annotated[
    str,
    BeforeValidator(_as_text),
    Allowed("texts that are separated by commas, or a list of texts"),
]
Aliases = Annotated[
    str,
    BeforeValidator(_as_aliases),
    AfterValidator(_check_aliases),
    Allowed("a list of NAME=MODEL"),
]
Workers = Annotated[
    str | tuple[WorkerTable, ...],
    BeforeValidator(_as_workers),
    AfterValidator(_check_workers),
    Allowed(f"{ALLOWED_WORKERS}; or tables [[workers]], which together may have {MAX_WORKERS}"),
]
Slots = Annotated[
    int | str,
    AfterValidator(_check_slots),
    Allowed(f"'{AUTO}' or a whole number from 1 up to {MAX_SLOTS}"),
]
Ttl = Annotated[float, AfterValidator(_check_ttl), Allowed("a number of at least 0, or -1")]
Folder = Annotated[Path, BeforeValidator(_check_folder), AfterValidator(_absolute)]
SocketPath = Annotated[str, AfterValidator(_absolute_or_empty)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
