"""Makes a variant with fewer bits of a model that is on this disk."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.errors import UnsupportedError
from cupola.cache.home import Home
from cupola.cache.install.building import cached, need_room, one_of_this_name, put_in_place
from cupola.cache.install.install import with_precision
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress, silent
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel, ModelCache
from cupola.cache.system.digests import write_model_digests

# The words of ``--variant``. ``cpu-int8`` has the weights of most models in the catalog.
VARIANTS = {"cpu-int4": Precision.INT4, "cpu-int8": Precision.INT8}


def quantize(
    name: str, precision: Precision, home: Home, progress: Progress = silent
) -> CachedModel:
    """The variant of the model ``name``, which is made if it is not there.

    Raises UnknownModelError, CacheError, OSError.
    """
    source = ModelCache(home).find(name)
    about = source.variant
    if about.provider is not ExecutionProvider.CPU or about.task != "chat-completion":
        raise UnsupportedError(f"{about.id} is no language model for the CPU")
    variant = with_precision(msgspec.structs.replace(about, source=None), precision)
    if variant.id == about.id:
        raise UnsupportedError(f"{about.id} is that variant already")
    with one_of_this_name(variant, home, progress) as shared:
        if (found := cached(variant.id, home)) is not None:
            return found
        need_room(home, _size(source.path))
        with staging(home) as work:
            from cupola.cache.convert.requantize import requantize

            built = work / "model"
            requantize(source.path, built, variant, precision, shared)
            write_model_digests(built)
            put_in_place(built, variant, home)
    return ModelCache(home).find(variant.id)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
