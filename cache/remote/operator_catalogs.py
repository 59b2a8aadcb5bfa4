"""Copies of the operator's catalogs that lie on servers, and of Azure's if it is among them.

This is the only time that they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import anyio
import msgspec

from cupola.cache.catalog_file import CatalogFileError, decode_catalog
from cupola.cache.catalog_sources import AZURE, copy_of, is_url
from cupola.cache.errors import CacheError, FetchError
from cupola.cache.home import Home
from cupola.cache.remote.azure import Azure
from cupola.cache.remote.remote_file import RemoteFile
from cupola.cache.remote.transfer import load
from cupola.cache.staging import staging


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
