"""When a model was last in memory: the age of an empty file outside the model's folder.

Other programs own some of the folders, and a file system need not say when a file was last read.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cupola.cache.home import Home


def note_use(home: Home, model: Path) -> None:
    """The model in the folder ``model`` is in memory now. A disk that is full loses the note."""
    with suppress(OSError, ValueError):  # ValueError: it lies elsewhere
        mark = _mark(home, model)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def used_at(home: Home, model: Path) -> float:
    """Unix seconds; 0: not known."""
    try:
        return _mark(home, model).stat().st_mtime
    except (OSError, ValueError):
        return 0.0


def forget(home: Home, model: Path) -> None:
    """The model has been removed."""
    with suppress(OSError, ValueError):
        _mark(home, model).unlink()


def _mark(home: Home, model: Path) -> Path:
    folder = home.uses / model.relative_to(home.models)
    return folder.with_name(folder.name + ".used")
