"""Which models are on this disk. The disk is the truth: nothing is remembered between calls.

The layout is Foundry Local's: ``models/<publisher>/<name>-<version>/[variant/]`` with a
``genai_config.json`` and an ``inference_model.json`` that has a ``Name``, and no ``download.tmp``
at the model's root. Folders that Foundry Local or onnxruntime-genai's builder made are read too.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cupola.cache.catalog import Catalog, ExecutionProvider, ModelVariant
from cupola.cache.catalog_file import built_in
from cupola.cache.catalog_settings import read_catalog_settings
from cupola.cache.catalog_sources import BuiltInSource, FixedSource, merged, named_source
from cupola.cache.errors import CacheError, NotCachedError
from cupola.cache.foundry_catalog import FoundryFacts, read_facts, write_catalog
from cupola.cache.home import Home
from cupola.cache.model_address import AddressError, is_address, parse_address
from cupola.cache.model_config import (
    GENAI_CONFIG,
    alias_of,
    as_configured,
    decode_json,
    read_config,
)
from cupola.cache.quality import Quality, read_quality
from cupola.cache.source_note import SourceNote, read_source_note
from cupola.cache.staging import staging

_log = logging.getLogger(__name__)

INFERENCE_MODEL = "inference_model.json"
_DESCRIPTIONS = (INFERENCE_MODEL, f".{INFERENCE_MODEL}")  # older programs hide the file
_IN_PROGRESS = "download.tmp"
_MAX_DEPTH = 5  # of folders under ``models``; also ends loops of links


class _InferenceModel(msgspec.Struct, rename="pascal"):
    """inference_model.json; what follows ``name`` is there in folders that Cupola made."""

    name: str
    alias: str = ""
    display_name: str = ""
    license: str = ""
    source_sha256: str = ""
    prompt_template: object = None  # texts by name; anything else counts as none


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model on this disk."""

    variant: ModelVariant
    path: Path
    completed_at: int = 0  # Unix seconds
    source_sha256: str = ""  # of the file it was converted from, where that is known
    prompt_template: Mapping[str, str] = field(default_factory=dict)  # Foundry Local's old form
    quality: Quality | None = None  # what an import has measured
    source: SourceNote | None = None  # where it came from, where that is known


@dataclass(frozen=True, slots=True)
class DamagedFolder:
    """A folder that looks like a model and cannot be read as one."""

    path: Path
    reason: str


class ModelCache:
    """The models under a home folder. Methods block on the disk; any thread may call them.

    ``providers``: what this machine can run; None: what the workers of the settings can. Other
    variants are what a name means only if no variant can be run.
    """

    def __init__(self, home: Home, providers: Collection[ExecutionProvider] | None = None) -> None:
        self.home = home
        if providers is None:
            providers = read_catalog_settings(home).providers
        self.providers = frozenset(providers)

    def scan(self) -> list[CachedModel]:
        """Every model on the disk, best first. A folder that cannot be read is logged and left
        out; of two with the same id the first by path counts."""
        models, damaged = self.survey()
        for each in damaged:
            _log.warning("%s is not a usable model folder: %s", each.path, each.reason)
        return models

    def survey(self) -> tuple[list[CachedModel], list[DamagedFolder]]:
        """The models as ``scan`` gives them, and the folders that cannot be read."""
        found: dict[str, CachedModel] = {}
        damaged = []
        facts = read_facts(self.home)
        for folder in sorted(_model_folders(self.home.models, 0)):
            try:
                model = self._read(folder, facts)
            except (OSError, msgspec.MsgspecError, ValueError) as error:
                damaged.append(DamagedFolder(folder, str(error)))
                continue
            found.setdefault(model.variant.id.casefold(), model)
        by_id = {model.variant.id: model for model in found.values()}
        ordered = Catalog(model.variant for model in found.values())
        return [by_id[variant.id] for variant in ordered], damaged

    def catalog(self) -> Catalog:
        """What can be had; see ``catalog_sources``."""
        return self.catalog_with(self.scan())

    def find(self, key: str) -> CachedModel:
        """The best model on the disk that ``key`` (id, name or alias, any case) means.

        Raises UnknownModelError when the catalog has nothing of this name, NotCachedError when it
        has, but the disk has not.
        """
        cached = self.scan()
        key = read_catalog_settings(self.home).aliases.get(key.casefold(), key)
        if is_address(key) and (model := _from_address(cached, key)):
            return model
        by_id = {model.variant.id: model for model in cached}
        variants = self._runnable_first(self.catalog_with(cached).find(key))
        for variant in variants:
            if variant.id in by_id:
                return by_id[variant.id]
        raise NotCachedError(variants[0])

    def variants(self, key: str) -> list[ModelVariant]:
        """What ``key`` (id, name or alias, any case) means, on the disk or not: best first.

        Raises UnknownModelError.
        """
        return self._runnable_first(self.catalog().find(key))

    def _runnable_first(self, variants: list[ModelVariant]) -> list[ModelVariant]:
        return sorted(variants, key=lambda variant: variant.provider not in self.providers)

    def remove(self, model_id: str) -> None:
        """Deletes a model from the disk, all of it or, when it is in use on Windows, nothing.

        Raises UnknownModelError, NotCachedError, CacheError.
        """
        path = self.find(model_id).path
        try:
            if path.is_symlink():  # the user keeps it elsewhere: only our view of it goes
                path.unlink()
            else:
                with staging(self.home) as folder:
                    path.rename(folder / "removed")
        except OSError as error:
            raise CacheError(f"{path} cannot be removed: {error.strerror}") from error
        shutil.rmtree(self.home.prepacked_folder(path), ignore_errors=True)
        for parent in (path.parent, path.parent.parent):
            if parent in (self.home.models, self.home.models.parent) or any(parent.iterdir()):
                break
            parent.rmdir()
        self.publish()

    def catalog_with(self, cached: list[CachedModel]) -> Catalog:
        """As ``catalog``. ``cached``: what ``scan`` has given."""
        settings = read_catalog_settings(self.home)
        disk = FixedSource([model.variant for model in cached])
        own = [named_source(place, self.home) for place in settings.catalogs]
        return merged([disk, *own, BuiltInSource()], settings.aliases)

    def publish(self) -> None:
        """Tells Foundry Local's SDKs what is on the disk. A disk that takes no file is logged."""
        models = ((model.variant, model.prompt_template) for model in self.scan())
        try:
            write_catalog(self.home, models, int(time.time()))
        except OSError as error:
            _log.warning("%s cannot be written: %s", self.home.foundry_catalog, error.strerror)

    def _read(self, folder: Path, facts: Mapping[str, FoundryFacts]) -> CachedModel:
        description = next(p for n in _DESCRIPTIONS if (p := folder / n).exists())
        described = decode_json(description, _InferenceModel)
        config = read_config(folder)
        if not described.name.strip():
            raise ValueError(f"{INFERENCE_MODEL} has an empty Name")
        model_id = described.name if ":" in described.name else f"{described.name}:0"
        size, changed_at = _size_and_age(folder, description)
        told = facts.get(model_id.casefold(), FoundryFacts())
        variant = _known(model_id) or ModelVariant(
            id=model_id,
            alias=described.alias or told.alias or alias_of(model_id),
            display_name=(
                described.display_name or told.display_name or model_id.rpartition(":")[0]
            ),
            publisher=_publisher(folder, self.home.models),
            license=described.license or told.license,
            task=told.task or "chat-completion",
            created_at=told.created_at or changed_at,
        )
        variant = as_configured(variant, config)
        variant = msgspec.structs.replace(
            variant, file_size_mb=max(1, round(size / 1e6)), size_is_estimate=False
        )
        template = _texts(described.prompt_template)
        quality, source = read_quality(folder), read_source_note(folder)
        return CachedModel(
            variant, folder, changed_at, described.source_sha256, template, quality, source
        )


def _from_address(cached: list[CachedModel], text: str) -> CachedModel | None:
    try:
        address = str(parse_address(text))
    except AddressError:
        return None
    return next((m for m in cached if m.source and m.source.address == address), None)


def _known(model_id: str) -> ModelVariant | None:
    return next((v for v in built_in() if v.id.casefold() == model_id.casefold()), None)


def _model_folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
    except OSError as error:
        if depth:  # that there is no folder of models at all is no news
            _log.warning("%s cannot be read: %s", folder, error.strerror)
        return
    if _IN_PROGRESS in found:
        return
    if GENAI_CONFIG in found and depth and not found.keys().isdisjoint(_DESCRIPTIONS):
        yield folder
    if depth < _MAX_DEPTH:
        for name, is_folder in found.items():
            if is_folder and not name.startswith("."):
                yield from _model_folders(folder / name, depth + 1)


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _size_and_age(folder: Path, description: Path) -> tuple[int, int]:
    """(bytes of the files right in the folder, Unix time when it was completed)"""
    size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                size += entry.stat().st_size
    return size, int(description.stat().st_mtime)


def _publisher(folder: Path, models: Path) -> str:
    parts = folder.relative_to(models).parts
    return parts[0] if len(parts) > 1 else "local"
