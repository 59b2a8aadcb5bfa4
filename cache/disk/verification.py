"""Compares the files of models with the digests that were written when they were installed."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cupola.cache.store import CachedModel
from cupola.cache.system.digests import DamagedFileError, check_digests


class Health(enum.StrEnum):
    WHOLE = "whole"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"  # another program has made it, and no digests were written


@dataclass(frozen=True, slots=True)
class Verdict:
    name: str  # the model's id, or the name of a folder that is no model
    path: Path
    health: Health
    reason: str = ""


def verify(models: Iterable[CachedModel]) -> Iterator[Verdict]:
    """Reads every file. One verdict a model, when it is known."""
    for model in models:
        health, reason = _check(model.path)
        yield Verdict(model.variant.id, model.path, health, reason)


def _check(folder: Path) -> tuple[Health, str]:
    try:
        checked = check_digests(folder)
    except DamagedFileError as error:
        return Health.DAMAGED, str(error)
    except OSError as error:
        return Health.DAMAGED, f"{Path(error.filename or folder).name}: {error.strerror}"
    return (Health.WHOLE, "") if checked else (Health.UNKNOWN, "")
