"""Models that other programs or a person put on this disk, and how each becomes one of ours."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cupola.cache.errors import CacheError
from cupola.cache.home import Home
from cupola.cache.install.adopt import check_folder, describe_folder
from cupola.cache.model_address import safe
from cupola.cache.model_config import GENAI_CONFIG, alias_of
from cupola.cache.remote.hub_files import HubFile, choose
from cupola.cache.store import INFERENCE_MODEL, ModelCache

_IN_PROGRESS = "download.tmp"
_MAX_DEPTH = 4


class Way(enum.StrEnum):
    """What is done with a model that was found."""

    DESCRIBE = "describe"  # it lies among ours, and nothing says what it is called
    LINK = "link"  # another program's cache has it in the same form
    IMPORT = "import"  # it is copied, or converted


@dataclass(frozen=True, slots=True)
class FoundModel:
    path: Path
    name: str  # the id, or what it will be called
    way: Way


def found_models(
    home: Home, environment: Mapping[str, str] = os.environ, person: Path | None = None
) -> list[FoundModel]:
    """Looks among our models, in the caches of Foundry Local's SDKs and in that of the hub.

    ``person``: the home folder of the user. What is in our cache under the same name is left out.
    """
    person = Path.home() if person is None else person
    cached = ModelCache(home).scan()
    known = {model.variant.id.casefold() for model in cached}
    aliases = {model.variant.alias.casefold() for model in cached}
    found: dict[str, FoundModel] = {}
    for each in (*_undescribed(home), *_of_sdks(home, person), *_of_hub(environment, person)):
        taken = known if each.way is not Way.IMPORT else aliases
        name = each.name if each.way is not Way.IMPORT else alias_of(safe(each.name))
        if name.casefold() not in taken:
            found.setdefault(each.name.casefold(), each)
    return list(found.values())


def take(found: FoundModel, home: Home) -> None:
    """Describes or links the model; those to be imported are import jobs. Raises OSError."""
    if found.way is Way.DESCRIBE:
        content = msgspec.json.format(msgspec.json.encode({"Name": found.name}), indent=2)
        (found.path / INFERENCE_MODEL).write_bytes(content)
    elif found.way is Way.LINK:
        # Another program has chosen these names.
        publisher, name = safe(found.path.parent.name), safe(found.name.replace(":", "-"))
        place = home.models / (publisher or "local") / (name or "model")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(found.path.resolve(), target_is_directory=True)
    ModelCache(home).publish()


def _undescribed(home: Home) -> Iterator[FoundModel]:
    """Folders among our models that have all that a model needs but its name."""
    for folder in _folders(home.models, 0):
        if (folder / INFERENCE_MODEL).exists() or (folder / f".{INFERENCE_MODEL}").exists():
            continue
        try:
            check_folder(folder)
            yield FoundModel(folder, describe_folder(folder).id, Way.DESCRIBE)
        except (CacheError, OSError):
            continue


def _of_sdks(home: Home, person: Path) -> Iterator[FoundModel]:
    """The caches of apps that use Foundry Local's SDKs: ``~/.APP/cache/models``."""
    for models in sorted(person.glob(".*/cache/models")):
        if models.resolve() == home.models.resolve():
            continue
        for model in ModelCache(Home(models.parent.parent)).scan():
            yield FoundModel(model.path, model.variant.id, Way.LINK)


def _of_hub(environment: Mapping[str, str], person: Path) -> Iterator[FoundModel]:
    """The newest snapshot of each repository in the hub's cache that is a model of ours."""
    cache = environment.get("XDG_CACHE_HOME") or str(person / ".cache")
    root = environment.get("HF_HOME") or f"{cache}/huggingface"
    hub = Path(environment.get("HF_HUB_CACHE") or f"{root}/hub").expanduser()
    for repository in sorted(hub.glob("models--*--*")):
        snapshots = [path for path in repository.glob("snapshots/*") if path.is_dir()]
        if not snapshots:
            continue
        snapshot = max(snapshots, key=lambda path: path.stat().st_mtime)
        files = [path for path in snapshot.rglob("*") if path.is_file()]
        names = [HubFile(path.relative_to(snapshot).as_posix(), 0) for path in files]
        try:
            choose(names)
        except CacheError:
            continue
        yield FoundModel(snapshot, repository.name.rpartition("--")[2], Way.IMPORT)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
    except OSError:
        return
    if _IN_PROGRESS in found:
        return
    if depth and GENAI_CONFIG in found:
        yield folder
    if depth < _MAX_DEPTH:
        for name in sorted(found):
            if found[name] and not name.startswith("."):
                yield from _folders(folder / name, depth + 1)
