"""Copies of the operator's catalogs that lie on servers, and of Azure's if it is among them.

They are asked for when a person refreshes them. Azure's is asked for again before one of its models
is downloaded, if the copy is older than Foundry Local would let its own become.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import anyio
import msgspec

from cupola.cache.catalog import AzureSource, ModelVariant
from cupola.cache.catalog_file import CatalogFileError, decode_catalog
from cupola.cache.catalog_sources import AZURE, copy_of, is_url
from cupola.cache.errors import CacheError, FetchError
from cupola.cache.home import Home
from cupola.cache.remote.azure import Azure
from cupola.cache.remote.remote_file import RemoteFile
from cupola.cache.remote.transfer import load
from cupola.cache.staging import staging
from cupola.cache.store import ModelCache

_log = logging.getLogger(__name__)

_LIFE_SECONDS = 4 * 3600  # of the copy of Azure's catalog


def variants_to_download(cache: ModelCache, key: str) -> list[ModelVariant]:
    """What ``key`` means, as ``ModelCache.variants``, by a copy of Azure's catalog that is not old.

    Where Azure gives no answer the old copy counts. Raises UnknownModelError.
    """
    variants = cache.variants(key)
    of_azure = any(isinstance(variant.source, AzureSource) for variant in variants)
    if not of_azure or not _is_old(copy_of(AZURE, cache.home), time.time()):
        return variants
    for trouble in refresh([AZURE], cache.home):
        _log.warning("the copy of Azure's catalog is old, and there is no new one: %s", trouble)
    return cache.variants(key)


def _is_old(copy: Path, now: float) -> bool:
    """A copy that was never made is not old: nobody has asked for it."""
    try:
        age = now - copy.stat().st_mtime
    except OSError:
        return False
    return not 0 <= age <= _LIFE_SECONDS


def refresh(places: Iterable[str], home: Home) -> list[str]:
    """Fetches the catalogs among ``places`` that lie on servers.

    Returns what went wrong, a line each; the copies of before stay then.
    """
    trouble = []
    for url in places:
        try:
            if url == AZURE:
                _fetch_azure(copy_of(url, home), home)
            elif is_url(url):
                _fetch(url, copy_of(url, home), home)
        except (CacheError, CatalogFileError) as error:
            trouble.append(f"{url}: {error}")
        except OSError as error:
            trouble.append(f"{url} cannot be stored: {error.strerror}")
    return trouble


def _fetch(url: str, place: Path, home: Home) -> None:
    with staging(home) as folder:
        [file] = load([RemoteFile("catalog.json", url)], folder)
        if file.stat().st_size == 0:
            raise FetchError("the catalog is empty")
        decode_catalog(file.read_bytes(), url)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)


def _fetch_azure(place: Path, home: Home) -> None:
    variants = anyio.run(Azure().variants)
    if not variants:
        raise FetchError("the catalog is empty")
    with staging(home) as folder:
        (folder / "azure.json").write_bytes(msgspec.json.encode(variants))
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / "azure.json").replace(place)
