"""The steps of making a model: one process at a time, enough room, converted, put in its place.

The heavy libraries (onnx, gguf, numpy) are imported only when a model is really converted.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from cupola.cache.catalog import ModelVariant, UnknownModelError
from cupola.cache.convert.whisper.whisper_files import is_whisper
from cupola.cache.errors import CacheError, NoSpaceError, NotCachedError
from cupola.cache.home import Home
from cupola.cache.install.exclusive import exclusive
from cupola.cache.install.replace import replace
from cupola.cache.progress import Progress
from cupola.cache.quality import MAX_COMPARED_BYTES
from cupola.cache.remote.hub_files import TASKS
from cupola.cache.source_note import SourceNote
from cupola.cache.store import CachedModel, ModelCache
from cupola.cache.system.digests import write_model_digests

# Times the model's size. The wheel and the GGUF in it, or the GGUF and the model, are on the disk
# at the same time, and a GGUF is at most about as large as the model.
_ROOM = 2.2
# The model is also written in float32 for a while, for comparison. That is eight times the size of
# a GGUF of 4 bits a weight.
_FLOATS_OF_GGUF = 8.0
_FLOAT = 4e9  # bytes of a billion of weights


def cached(model_id: str, home: Home) -> CachedModel | None:
    try:
        model = ModelCache(home).find(model_id)
    except (UnknownModelError, NotCachedError):
        return None
    return model if model.variant.id == model_id else None


def one_of_this_name(
    variant: ModelVariant, home: Home, progress: Progress
) -> AbstractContextManager[Progress]:
    """Gives the block to one process at a time among those that work on this model's name."""
    name = home.model_folder(variant.publisher, variant.id).name.rpartition("-")[0]
    return exclusive(home.downloads / f"{variant.publisher}-{name}.lock", progress)


def room_of_model(variant: ModelVariant) -> int:
    """About how many bytes on the disk it takes to make a model of the catalog."""
    return _room(variant, variant.file_size_mb * 1e6, variant.billions * _FLOAT)


def room_for(variant: ModelVariant, size: int) -> int:
    """About how many bytes it takes to convert a file of ``size`` bytes, which is on the disk."""
    return _room(variant, size, size * _FLOATS_OF_GGUF)


def room_for_floats(size: int) -> int:
    """As ``room_for``, of weights in 16 bits or 32, which become fewer bits or as many."""
    return round(size * 1.1 + min(2 * size, MAX_COMPARED_BYTES))


def _room(variant: ModelVariant, size: float, floats: float) -> int:
    """As ``room_for``. ``floats``: the size of the copy in float32, which only decoders have."""
    decoder = variant.task == "chat-completion"
    return round(size * _ROOM + (min(floats, MAX_COMPARED_BYTES) if decoder else 0))


def need_room(home: Home, needed: int) -> None:
    """Raises NoSpaceError when the disk has less than ``needed`` bytes left."""
    home.downloads.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home.downloads).free
    if free < needed:
        raise NoSpaceError(str(home.root), needed, free)


def convert_into_place(
    weights: Path,
    folder: Path,
    variant: ModelVariant,
    digest: str,
    home: Home,
    progress: Progress,
    note: SourceNote | None = None,
    adapter: Path | None = None,
) -> None:
    """Converts inside ``folder``, then puts the finished model in its place in one step.

    ``adapter``: the folder of a LoRA, which is merged into a decoder.
    """
    built = folder / "model"
    if is_whisper(weights):
        from cupola.cache.convert.whisper.convert_whisper import convert_whisper

        convert_whisper(weights, built, variant, source_sha256=digest, progress=progress)
    elif weights.suffix == ".safetensors":
        from cupola.cache.convert.encoder import convert_encoder

        convert_encoder(weights, built, variant, source_sha256=digest, progress=progress)
    elif variant.task in (TASKS["encoder"], TASKS["ranker"]):
        from cupola.cache.convert.encoder import convert_gguf_encoder

        convert_gguf_encoder(weights, built, variant, source_sha256=digest, progress=progress)
    else:
        from cupola.cache.convert.convert import convert

        convert(
            weights,
            built,
            variant,
            precision=variant.precision,
            source_sha256=digest,
            adapter=adapter,
            progress=progress,
        )
    if note is not None:
        note.write(built)
    write_model_digests(built)
    put_in_place(built, variant, home)


def put_in_place(built: Path, variant: ModelVariant, home: Home) -> None:
    """Moves the finished model to its folder. Until then one that was there before stays whole.

    What it replaces ends in the staging folder. A process that uses the old files keeps them until
    it closes them.
    """
    place = home.model_folder(variant.publisher, variant.id)
    place.parent.mkdir(parents=True, exist_ok=True)
    # A half-done download of another program's is not ours to delete.
    if (place / "download.tmp").exists():
        raise CacheError(f"{place} is being downloaded by another program; remove it first")
    replaced = cached(variant.id, home)
    replace(built, place)
    ModelCache(home).publish()
    if replaced is not None and replaced.path not in (place, built):
        with suppress(OSError):  # it may be on another disk: then there are two, and both are whole
            replaced.path.rename(built.with_name("replaced"))
