"""How much room each model takes, and what else lies beside the models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cupola.cache.disk.prepacked_entries import entries
from cupola.cache.disk.uses import used_at
from cupola.cache.home import Home
from cupola.cache.store import CachedModel, ModelCache


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Sizes in bytes. ``derived``: of what workers have made of it."""

    model: CachedModel
    size: int
    derived: int
    used_at: float  # Unix seconds: when it was last in memory, or else was completed

    @property
    def total(self) -> int:
        return self.size + self.derived


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """``unfinished``: bytes of downloads and conversions that have not ended."""

    models: Sequence[ModelUsage]
    unfinished: int
    free: int  # bytes left on the disk

    @property
    def size(self) -> int:
        return sum(each.size for each in self.models)

    @property
    def derived(self) -> int:
        return sum(each.derived for each in self.models)


def model_usage(home: Home, model: CachedModel) -> ModelUsage:
    """What one model takes."""
    return _with_derived(home, [model])[0]


def disk_usage(home: Home) -> DiskUsage:
    """What is on the disk now."""
    models = _with_derived(home, ModelCache(home).scan())
    folder = next(path for path in (home.models, *home.models.parents) if path.exists())
    return DiskUsage(models, folder_bytes(home.downloads), shutil.disk_usage(folder).free)


def _with_derived(home: Home, models: Sequence[CachedModel]) -> list[ModelUsage]:
    derived: dict[Path, int] = {}
    for entry in entries(home):
        derived[entry.model] = derived.get(entry.model, 0) + entry.size
    return [
        ModelUsage(
            model,
            folder_bytes(model.path),
            derived.get(model.path, 0),
            used_at(home, model.path) or model.completed_at,
        )
        for model in models
    ]


def folder_bytes(folder: Path) -> int:
    """The room of all files below ``folder``; a file with several names counts once."""
    seen, size = set(), 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                state = os.stat(os.path.join(parent, name))
                if (identity := (state.st_dev, state.st_ino)) not in seen:
                    seen.add(identity)
                    # A partial download is as long as the whole, and has holes.
                    blocks = getattr(state, "st_blocks", None)
                    size += state.st_size if blocks is None else min(state.st_size, blocks * 512)
    return size
