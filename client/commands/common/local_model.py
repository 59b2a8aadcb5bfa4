"""Models on this disk, for the commands that need one: found, or installed with a bar shown."""

from __future__ import annotations

import sys
from pathlib import Path

from cupola.cache.catalog import ModelVariant, UnknownModelError
from cupola.cache.errors import NotCachedError
from cupola.cache.home import Home
from cupola.cache.install.messages import DownloadJob, ImportJob, InstallJob, QuantizeJob
from cupola.cache.install.process import run_install
from cupola.cache.model_address import AddressError, is_address, parse_address
from cupola.cache.precision import Precision
from cupola.cache.store import CachedModel, ModelCache
from cupola.client.errors import ClientError
from cupola.client.terminal import progress


def ensure(home: Home, key: str) -> CachedModel:
    """The model that an id, a name or an alias means, downloaded if it is not on the disk.

    Raises UnknownModelError, CacheError, ClientError.
    """
    cache = ModelCache(home)
    try:
        return cache.find(key)
    except NotCachedError:
        return download(home, downloadable(cache, key))
    except UnknownModelError:
        if not is_address(key):
            raise
        return download_address(home, key)


def downloadable(cache: ModelCache, key: str) -> ModelVariant:
    """The best variant that ``key`` means and that can be downloaded."""
    from cupola.cache.remote.operator_catalogs import variants_to_download

    for variant in variants_to_download(cache, key):
        if variant.source is not None:
            return variant
    raise ClientError(
        f"'{key}' cannot be downloaded", "Import a file of it: cupola model import FILE.gguf"
    )


def download(home: Home, variant: ModelVariant, *, force: bool = False) -> CachedModel:
    """Download and convert a model, also one that is there if ``force``. Raises CacheError."""
    size = f" ({variant.file_size_mb} MB on the disk)" if variant.file_size_mb else ""
    print(f"Fetching the model {variant.id}{size}", file=sys.stderr, flush=True)
    return _install(home, DownloadJob(str(home.root), variant.id, force))


def download_address(
    home: Home,
    address: str,
    alias: str | None = None,
    precision: Precision | None = None,
    *,
    force: bool = False,
    base: str | None = None,
) -> CachedModel:
    """Download what an address such as "hf:org/name" offers.

    ``precision``: None: what suits the file. ``base``: the model that an adapter is for. Raises
    CacheError, ClientError.
    """
    try:
        parse_address(address)
    except AddressError as error:
        raise ClientError(str(error)) from None
    return _install(
        home, DownloadJob(str(home.root), address, force, alias, precision, _base(base))
    )


def import_path(
    home: Home, path: Path, alias: str | None, precision: Precision | None, base: str | None = None
) -> CachedModel:
    """Make a model of a file or a folder. ``precision``: None: what suits the file.

    ``base``: the model that an adapter is for. Raises CacheError.
    """
    job = ImportJob(str(home.root), str(path.absolute()), alias, precision, _base(base))
    return _install(home, job)


def quantize(home: Home, name: str, precision: Precision) -> CachedModel:
    """Make a variant with fewer bits of a model on this disk. Raises CacheError."""
    return _install(home, QuantizeJob(str(home.root), name, precision))


def _base(base: str | None) -> str | None:
    """The model that an adapter is for; a path becomes absolute."""
    return str(Path(base).absolute()) if base is not None and Path(base).exists() else base


def _install(home: Home, job: InstallJob) -> CachedModel:
    """Progress goes to standard error."""
    with progress.shown() as show:
        installed = run_install(job, show)
    model = ModelCache(home).find(installed.model_id)
    if model.quality is not None and model.quality.warning:
        print(f"Warning: {model.quality.warning}", file=sys.stderr, flush=True)
    return model
