"""Where the models lie: the data folder's own place, or another folder that it links to.

``cache/models`` becomes a link, so every process finds the models at the usual path. Partial
downloads are renamed into the models' folder and have to be on its disk, so their folder is a link
to the same disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from cupola.cache.home import Home
from cupola.client.errors import ClientError

_PARTS = ".cupola-tmp"  # in the chosen folder; a scan passes over names with a dot
_KEPT = "-default"  # the data folder's own folders, while others stand in for them


def location(home: Home) -> Path:
    """The folder that holds the models."""
    return Path(os.path.realpath(home.models)) if is_chosen(home) else home.models


def is_chosen(home: Home) -> bool:
    return home.models.is_symlink()


def choose(home: Home, folder: Path) -> None:
    """Use ``folder`` and create it if need be. Models elsewhere stay there. Raises OSError.

    The data folder's own place ends the use of another.
    """
    folder = folder.expanduser().absolute()
    if folder == home.models.absolute():
        forget(home)
        return
    if folder == home.downloads or home.models in folder.parents:
        raise ClientError(f"{folder} is inside the folder that it should stand in for")
    parts = folder / _PARTS
    parts.mkdir(parents=True, exist_ok=True)
    for place, target in ((home.models, folder), (home.downloads, parts)):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            place.rename(_kept(place))
        place.symlink_to(target, target_is_directory=True)


def before(home: Home, old: Path) -> Path:
    """Where the folder ``old``, which was used until now, is now."""
    return _kept(home.models) if old == home.models and is_chosen(home) else old


def forget(home: Home) -> bool:
    """Go back to the data folder's own place; False when it is the one in use."""
    if not is_chosen(home):
        return False
    for place in (home.models, home.downloads):
        if place.is_symlink():
            place.unlink()
            if _kept(place).exists():
                _kept(place).rename(place)
    return True


def _kept(place: Path) -> Path:
    return place.with_name(place.name + _KEPT)
