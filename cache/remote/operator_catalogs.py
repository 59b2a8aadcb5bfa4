"""Copies of the operator's catalogs that lie on servers: the only time that they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cupola.cache.catalog_file import CatalogFileError, decode_catalog
from cupola.cache.catalog_sources import copy_of, is_url
from cupola.cache.errors import CacheError, FetchError
from cupola.cache.home import Home
from cupola.cache.remote.remote_file import RemoteFile
from cupola.cache.remote.transfer import load
from cupola.cache.staging import staging


def refresh(places: Iterable[str], home: Home) -> list[str]:
    """Fetches the catalogs among ``places`` that are URLs.

    Returns what went wrong, a line each; the copies of before stay then.
    """
    trouble = []
    for url in filter(is_url, places):
        try:
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
