"""What is written about a setting: its names, its default, what it may be, what it is for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cupola.service.settings.engine import EngineSettings
from cupola.service.settings.logs import LogSettings
from cupola.service.settings.memory import MemorySettings
from cupola.service.settings.models import ModelSettings
from cupola.service.settings.network import NetworkSettings
from cupola.service.settings.security import SecuritySettings
from cupola.service.settings.settings import PREFIX, Settings
from cupola.service.settings.types import Allowed

FIELDS: Mapping[str, FieldInfo] = Settings.model_fields


class Group(enum.StrEnum):
    """What a setting is about. Help and documents show the settings by group."""

    NETWORK = "network"
    MODELS = "models"
    ENGINE = "engine"
    MEMORY = "memory"
    SECURITY = "security"
    LOGGING = "logging"


_CLASSES: Mapping[Group, type[BaseModel]] = {
    Group.NETWORK: NetworkSettings,
    Group.MODELS: ModelSettings,
    Group.ENGINE: EngineSettings,
    Group.MEMORY: MemorySettings,
    Group.SECURITY: SecuritySettings,
    Group.LOGGING: LogSettings,
}


def flag(key: str) -> str:
    """A setting's name on the command line."""
    return "--" + key.replace("_", "-")


def variable(key: str) -> str:
    """A setting's name in the environment."""
    return PREFIX + key.upper()


def meaning(key: str) -> str:
    """What a setting is for, in a few sentences."""
    return FIELDS[key].description or ""


def summary(key: str) -> str:
    """The first sentence of the meaning, without its full stop."""
    return meaning(key).partition(". ")[0].removesuffix(".")


def group(key: str) -> Group:
    return next(each for each, fields in _CLASSES.items() if key in fields.model_fields)


def in_group(wanted: Group) -> list[str]:
    """The settings of a group, in the order of its class."""
    return list(_CLASSES[wanted].model_fields)


def default(key: str) -> str:
    """A setting's default, the same on every machine."""
    return value_text(FIELDS[key].get_default(call_default_factory=True))


def value_text(value: Any) -> str:
    """A value in words: 600.0 is ``600``, a path in the user's folder begins with ``~``."""
    if isinstance(value, Path):
        home = Path.home()
        return f"~/{value.relative_to(home)}" if value.is_relative_to(home) else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def choices(key: str) -> tuple[str, ...]:
    """The values of a setting that has only a few."""
    kind = FIELDS[key].annotation
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def allowed(key: str) -> str:
    """What a setting may be, in words."""
    field = FIELDS[key]
    for each in field.metadata:
        if isinstance(each, Allowed):
            return each.text
    if field.annotation in (int, float):
        kind = "a whole number" if field.annotation is int else "a number"
        return " ".join([kind, *filter(None, map(_limit, field.metadata))])
    if known := choices(key):
        return "one of " + ", ".join(known)
    if field.annotation is Path:
        return "a folder"
    is_needed = any(isinstance(each, annotated_types.MinLen) for each in field.metadata)
    return "text that is not empty" if is_needed else "text"


def _limit(rule: object) -> str:
    match rule:
        case annotated_types.Ge(ge=limit):
            return f"from {limit}"
        case annotated_types.Gt(gt=limit):
            return f"above {limit},"
        case annotated_types.Le(le=limit):
            return f"up to {limit}"
    return ""
