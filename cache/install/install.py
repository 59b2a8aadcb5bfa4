"""Makes a model folder in the cache, of a catalog entry or of the user's GGUF file.

The heavy libraries (onnx, gguf, numpy) are imported only when a model is really converted.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cupola.cache.catalog import BUILT_IN, Catalog, ModelVariant, UnknownModelError
from cupola.cache.digests import write_model_digests
from cupola.cache.errors import CacheError, NoSourceError, NoSpaceError, NotCachedError
from cupola.cache.home import Home
from cupola.cache.install.fetch import fetch, sha256_of
from cupola.cache.install.replace import replace
from cupola.cache.locks import file_lock
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.quality import MAX_COMPARED_BYTES
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache

if TYPE_CHECKING:
    from filelock import FileLock

# Times the model's size. The wheel and the GGUF in it, or the GGUF and the model, are on the disk
# at the same time, and a GGUF is at most about as large as the model.
_ROOM = 2.2
# The model is also written in float32 for a while, for comparison. That is four times the size of a
# model of 8 bits a weight, and eight times the size of a GGUF of 4.
_FLOATS_OF_MODEL = 4.0
_FLOATS_OF_GGUF = 8.0
_QUANTISATION = re.compile(r"[.-](?:i?q\d\w*|b?f16|f32|mxfp4)$", re.IGNORECASE)
# What an import can make, by the bits of most weights, and what the model's id then has.
_PRECISIONS = {4: Precision.INT4, 8: Precision.INT8, 16: Precision.FP16}
_KINDS = {Precision.INT4: "int4", Precision.INT8: "generic", Precision.FP16: "fp16"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_MAX_NAME = 100


def install(
    variant: ModelVariant, home: Home, progress: Progress = silent, *, force: bool = False
) -> CachedModel:
    """Fetches and converts a model of the catalog.

    A model that is there is returned at once. With ``force`` it is made again and replaced when the
    new one is complete. Of several processes that want the same model one does the work and the
    others wait (stage "wait"). Raises CacheError, or OSError from the disk.
    """
    found = _cached(variant.id, home)
    if found is not None and not force:
        return found
    if variant.source is None:
        raise NoSourceError(variant.id)
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
    path: Path,
    home: Home,
    alias: str | None = None,
    progress: Progress = silent,
    *,
    bits: int | None = None,
) -> CachedModel:
    """Makes a model of the file ``path``, which stays where it is.

    The file of a catalog entry becomes that model, in the variant that is best here. Otherwise the
    model is called ``alias`` or, without one, what the file calls itself. A file that was imported
    before is returned at once. Another file of the same name becomes the next version. ``bits``: of
    most weights, 4, 8 or 16; None: 4 if the file has 4, else 8. Raises CacheError, OSError.
    """
    digest = sha256_of(path, progress)
    if alias is None:
        for variant in Catalog(BUILT_IN):
            suits = bits is None or variant.precision.bits == bits
            if suits and variant.source is not None and variant.source.sha256 == digest:
                return _import(path, variant, digest, home, progress)
    return _import(path, _describe(path, alias, bits), digest, home, progress)


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
    """About how many bytes on the disk it takes to make a model of a file of ``size`` bytes."""
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
    write_model_digests(built)
    _put_in_place(built, variant, home)


def _put_in_place(built: Path, variant: ModelVariant, home: Home) -> None:
    """Moves the finished model to its folder. Until then one that was there before stays whole.

    What it replaces ends in the staging folder. A process that uses the old files keeps them until
    it closes them.
    """
    place = home.model_folder(variant.publisher, variant.id)
    place.parent.mkdir(parents=True, exist_ok=True)
    # A half-done download of another program's is not ours to delete.
    if (place / "download.tmp").exists():
        raise CacheError(f"{place} is being downloaded by another program; remove it first")
    replaced = _cached(variant.id, home)
    replace(built, place)
    if replaced is not None and replaced.path not in (place, built):
        with suppress(OSError):  # it may be on another disk: then there are two, and both are whole
            replaced.path.rename(built.with_name("replaced"))


def _describe(path: Path, alias: str | None, bits: int | None) -> ModelVariant:
    """What the file says about itself. Raises ModelFileError when it is no GGUF."""
    from cupola.cache.convert.formats.gguf_file import GgufFile
    from cupola.cache.convert.stored_precision import stored_precision

    gguf = GgufFile(path)
    precision = _PRECISIONS[bits] if bits else stored_precision(gguf)
    stem = _QUANTISATION.sub("", path.stem)
    title = gguf.get("general.name", str, stem) or stem
    name = _safe(alias or title).lower() or _safe(stem).lower() or "model"
    return ModelVariant(
        id=f"{name}-{_KINDS[precision]}-cpu:1",
        alias=name,
        display_name=alias or title,
        publisher=_safe(gguf.get("general.organization", str, "")) or "local",
        license=gguf.get("general.license", str, ""),
        precision=precision,
    )


def _safe(text: str) -> str:
    """``text`` as a part of a model's id and a folder's name."""
    return _UNSAFE.sub("-", text)[:_MAX_NAME].strip("-._")
