"""Moves models from one folder of models to another, also to another disk."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from cupola.cache.errors import CacheError, NoSpaceError
from cupola.cache.system.digests import DamagedFileError, check_digests


def move(
    folders: Iterable[Path], old: Path, new: Path, done: Callable[[Path], None] = lambda _: None
) -> None:
    """Moves model folders of ``old`` to the same places in ``new``. Calls ``done`` after each.

    One that is there already stays where it is. A crash leaves each model whole, in one of the
    places or in both. Raises CacheError, OSError.
    """
    pairs = [(folder, new / folder.relative_to(old)) for folder in folders]
    pairs = [(source, place) for source, place in pairs if not os.path.lexists(place)]
    new.mkdir(parents=True, exist_ok=True)
    if os.stat(old).st_dev != os.stat(new).st_dev:
        needed = sum(_size(source) for source, _ in pairs if not source.is_symlink())
        if (free := shutil.disk_usage(new).free) < needed:
            raise NoSpaceError(str(new), needed, free)
    for source, place in pairs:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(place)
        except OSError:  # another disk
            _copy(source, place)
            source.unlink() if source.is_symlink() else shutil.rmtree(source)
        _remove_empty(source.parent, old)
        done(place)


def _copy(source: Path, place: Path) -> None:
    """Copies to a name that no scan sees, and renames what has proved to be right."""
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        if source.is_symlink():
            draft.symlink_to(source.resolve(), target_is_directory=True)
        else:
            shutil.copytree(source, draft)
            check_digests(draft)
        draft.rename(place)
    except DamagedFileError as error:
        raise CacheError(f"{source} is not moved: {error}") from None
    finally:
        if draft.is_symlink():
            draft.unlink()
        shutil.rmtree(draft, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _remove_empty(folder: Path, end: Path) -> None:
    while folder != end and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
