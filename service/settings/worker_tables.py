"""``[[workers]]`` in the settings file: workers of one kind, and their share of the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.pool import MAX_WORKERS

WRONG_TABLE = "worker_table"  # the type of pydantic's error; its context has table, field, value
MAX_SLOTS = 1024
DEVICE = re.compile(rf"({'|'.join(each.name.lower() for each in ExecutionProvider)})(:\d{{1,3}})?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?", re.IGNORECASE)
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_MOST_CPUS = 4096


def whole_device(name: str) -> str:
    """A device with its number: "cpu:0" for "cpu"."""
    return name if ":" in name else f"{name}:0"


def bytes_of(size: str) -> int:
    """The bytes in a text such as "6GiB" or "512MB"; 0 for an empty one. Raises ValueError."""
    if not size:
        return 0
    if (found := _SIZE.fullmatch(size.strip())) is None:
        raise ValueError("not a size")
    number, unit = float(found[1]), (found[2] or "B").upper()
    base = 1024 if "I" in unit else 1000
    return int(number * base ** "BKMGT".index(unit[0]))


def cpus_of(text: str) -> tuple[int, ...]:
    """The numbers of processors in a text such as "0-3,6", sorted. Raises ValueError."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        if (numbers := _RANGE.fullmatch(part)) is None:
            raise ValueError("not a list of processors")
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if not first <= last < _MOST_CPUS:
            raise ValueError("not a list of processors")
        found |= set(range(first, last + 1))
    return tuple(sorted(found))


def cpus_text(cpus: Iterable[int]) -> str:
    """The text for numbers of processors: what ``cpus_of`` reads."""
    ranges: list[tuple[int, int]] = []
    for cpu in sorted(cpus):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1] = ranges[-1][0], cpu
        else:
            ranges.append((cpu, cpu))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _check_device(value: str) -> str:
    if DEVICE.fullmatch(value) is None:
        raise ValueError("not a device")
    return whole_device(value)


def _check_size(value: Any) -> Any:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ValueError("not a size")
    bytes_of(text)
    return text


def _check_cpus(value: Any) -> Any:
    text = ",".join(map(str, value)) if isinstance(value, list) else value
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise ValueError("not a list of processors")
    cpus_of(text)
    return text


def _whole(value: Any) -> Any:
    # pydantic would take true for 1, and "2" for 2
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    return value


def _as_texts(value: Any) -> Any:
    """TOML has numbers and truth values where ONNX Runtime's options are text."""
    if not isinstance(value, Mapping):
        return value
    if any(isinstance(each, Mapping | list) for each in value.values()):
        raise ValueError("not a table of texts, numbers and truth values")
    return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in value.items()}


Count = Annotated[int, BeforeValidator(_whole)]


class WorkerTable(BaseModel):
    """One table. The descriptions say what a field is for, the titles what it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Annotated[str, AfterValidator(_check_device)] = Field(
        default="cpu:0",
        title="a device such as 'cpu:0' or 'cuda:1'",
        description="Where the workers run.",
        examples=["cpu:0"],
    )
    count: Count = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        title=f"a whole number from 1 up to {MAX_WORKERS}",
        description="How many workers there are of this kind.",
        examples=[2],
    )
    threads: Count = Field(
        default=0,
        ge=0,
        le=1024,
        title="a whole number from 0 up to 1024",
        description="The threads of each worker. 0: as many as it has processors of its own in "
        "'cpus', else its share of the setting 'threads'.",
        examples=[1],
    )
    cpus: Annotated[str, BeforeValidator(_check_cpus)] = Field(
        default="",
        title="a list of processors such as '0-3,6'",
        description="The processors that the workers may use. Several workers divide them, if "
        "there are enough. Empty: the system chooses. Only Linux can do this.",
        examples=["0-1"],
    )
    memory: Annotated[str, BeforeValidator(_check_size)] = Field(
        default="",
        title="a size such as '6GiB'",
        description="The memory of each worker. Models that do not fit make others leave or are "
        "refused; half of it is for the KV cache, a quarter at most for the prefix cache. Empty: "
        "the free memory, divided among the workers.",
        examples=["6GiB"],
    )
    models: tuple[str, ...] = Field(
        default=(),
        title="a list of models' names",
        description="The only models that the workers run; they are loaded at the start. Empty: "
        "all models.",
        examples=[["smollm2-135m"]],
    )
    max_slots: Count = Field(
        default=0,
        ge=0,
        le=MAX_SLOTS,
        title=f"a whole number from 0 up to {MAX_SLOTS}",
        description="The number of sequences that a worker runs at once. 0: the setting 'slots'.",
        examples=[8],
    )
    provider_options: Annotated[dict[str, str], BeforeValidator(_as_texts)] = Field(
        default={},
        title="a table of texts, numbers and truth values",
        description="Options of the execution provider, in ONNX Runtime's words.",
        examples=[{"arena_extend_strategy": "kSameAsRequested"}],
    )


def tables_of(value: list[Any]) -> tuple[WorkerTable, ...]:
    """The tables of the file. Raises PydanticCustomError, which names the table and the field."""
    return tuple(_table(number, table) for number, table in enumerate(value, 1))


def _table(number: int, table: Any) -> WorkerTable:
    try:
        return WorkerTable.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        unknown = first["type"] == "extra_forbidden"
        context = {"table": number, "field": field, "value": first["input"], "unknown": unknown}
        raise PydanticCustomError(WRONG_TABLE, "a table is wrong", context) from None


def wrong_table(context: Mapping[str, Any], source: str) -> str:
    """The text for an error of ``tables_of``."""
    where = f"[[workers]] table {context['table']} ({source})"
    fields = WorkerTable.model_fields
    if context["unknown"]:
        return f"{where}: {context['field']} is not a field; there are {', '.join(fields)}"
    allowed = fields[context["field"]].title if context["field"] in fields else "a table"
    what = f"{context['field']} = {context['value']!r}" if context["field"] else "it"
    return f"{where}: {what} is not allowed: it must be {allowed}"
