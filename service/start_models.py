"""The models that a service loads at its start, found on the disk by the names in the settings."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from cupola.cache.catalog import ExecutionProvider, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.service.settings.settings import Settings
from cupola.service.settings.types import listed

logger = logging.getLogger(__name__)


def start_models(
    settings: Settings, home: Home, providers: Collection[ExecutionProvider]
) -> list[LocalModel]:
    """The models to load at the start, each once: those on the disk that a provider can run.

    The log names the models that are missing.
    """
    names = [settings.model, *listed(settings.preload), *listed(settings.pinned)]
    found = [_on_disk(name, home, providers) for name in names if name]
    return list({model.id: model for model in found if model is not None}.values())


def named_models(
    names: Sequence[str], home: Home, provider: ExecutionProvider
) -> tuple[tuple[LocalModel, ...], frozenset[str]]:
    """The models of a worker that runs no others: those on the disk, and the ids of all.

    Raises UnknownModelError: without a name that means nothing, the worker would run others.
    """
    catalog = ModelCache(home).catalog()
    ids = frozenset(variant.id for name in names for variant in catalog.find(name))
    found = (_on_disk(name, home, [provider]) for name in names)
    models = {model.id: model for model in found if model is not None}
    return tuple(models.values()), ids | models.keys()


def means_one_of(name: str, ids: Collection[str], home: Home) -> bool:
    """Whether a name in the settings means a model with one of these ids."""
    try:
        return any(variant.id in ids for variant in ModelCache(home).catalog().find(name))
    except UnknownModelError:
        return False


def pinned_ids(settings: Settings, home: Home) -> frozenset[str]:
    """The ids of the pinned models, including models that are not on the disk yet."""
    names = listed(settings.pinned)
    if not names:
        return frozenset()
    ids: set[str] = set()
    catalog = ModelCache(home).catalog()
    for name in names:
        try:
            ids |= {variant.id for variant in catalog.find(name)}
        except UnknownModelError as error:
            logger.warning("a model in the settings is not known: %s", error)
    return frozenset(ids)


def _on_disk(name: str, home: Home, providers: Collection[ExecutionProvider]) -> LocalModel | None:
    try:
        cached = ModelCache(home, providers).find(name)
    except NotCachedError:
        logger.warning("'%s' is not on this disk; run: cupola model download %s", name, name)
        return None
    except UnknownModelError as error:
        logger.warning("%s", error)
        return None
    return LocalModel(cached.variant.id, str(cached.path), cached.variant.provider)
