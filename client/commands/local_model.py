"""Models on this disk, for the commands that need one: found, or fetched with a bar shown."""

from __future__ import annotations

import sys

from cupola.cache.catalog import ModelVariant
from cupola.cache.errors import NotCachedError
from cupola.cache.home import Home
from cupola.cache.store import CachedModel, ModelCache
from cupola.client.commands import progress
from cupola.client.errors import ClientError


def ensure(home: Home, key: str) -> CachedModel:
    """The model that an id, a name or an alias means, fetched first if it is not on the disk.

    Raises UnknownModelError, CacheError, ClientError.
    """
    cache = ModelCache(home)
    try:
        return cache.find(key)
    except NotCachedError:
        return fetch(home, downloadable(cache, key))


def downloadable(cache: ModelCache, key: str) -> ModelVariant:
    """The best variant that ``key`` means and that can be fetched."""
    for variant in cache.catalog().find(key):
        if variant.source is not None:
            return variant
    raise ClientError(
        f"'{key}' cannot be downloaded", "Import a file of it: cupola model import FILE.gguf"
    )


def fetch(home: Home, variant: ModelVariant) -> CachedModel:
    """Download and convert a model, telling how far it is on standard error. Raises CacheError."""
    from cupola.cache.install.install import install

    size = f" ({variant.file_size_mb} MB on the disk)" if variant.file_size_mb else ""
    print(f"Fetching the model {variant.id}{size}", file=sys.stderr, flush=True)
    with progress.shown() as report:
        return install(variant, home, report)


def fetch_again(home: Home, model: CachedModel, variant: ModelVariant) -> CachedModel:
    """Fetch ``variant`` in place of ``model``, which stays if that fails. Raises CacheError."""
    import shutil

    aside = model.path.with_name("." + model.path.name)  # a scan passes over names with a dot
    model.path.rename(aside)
    try:
        fetched = fetch(home, variant)
    except BaseException:
        if not model.path.exists():
            aside.rename(model.path)
        raise
    shutil.rmtree(aside)
    return fetched
