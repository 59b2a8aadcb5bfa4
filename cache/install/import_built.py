"""Makes a model of a folder of safetensors with onnxruntime-genai's builder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cupola.cache.catalog import ModelVariant
from cupola.cache.convert.formats.json_file import JsonObject, read_json
from cupola.cache.home import Home
from cupola.cache.install.adopt import adopt, describe_folder
from cupola.cache.install.building import cached, need_room, one_of_this_name
from cupola.cache.install.model_builder import (
    build,
    need_known_layers,
    need_memory_of_builder,
)
from cupola.cache.precision import Precision
from cupola.cache.progress import Progress
from cupola.cache.source_note import SourceNote
from cupola.cache.staging import staging
from cupola.cache.store import CachedModel

_ROOM = 2.5  # times the weights' size: what is built, and its copy in the cache


def import_built(
    folder: Path,
    weights: Sequence[Path],
    variant: ModelVariant,
    home: Home,
    progress: Progress,
    *,
    precision: Precision | None,
    note: SourceNote | None,
) -> CachedModel:
    """Builds ``folder``, and puts what was made into the cache. A model of this name is returned.

    Raises CacheError, OSError.
    """
    # The builder has no eight bits for the CPU: four, with more where its own rules say so, or 16.
    made = Precision.FP16 if precision is Precision.FP16 else Precision.INT4
    size = sum(file.stat().st_size for file in weights)
    need_memory_of_builder(variant.display_name, size)
    config = JsonObject("config.json", read_json(folder / "config.json"))
    need_known_layers(config, made)
    with one_of_this_name(variant, home, progress) as shared:
        if (found := cached(variant.id, home)) is not None:
            return found
        need_room(home, round(size * _ROOM))
        with staging(home) as work:
            count = config.get("num_hidden_layers", int, 0)
            build(folder, work / "built", made, count, shared)
            told = msgspec.structs.replace(
                describe_folder(work / "built", variant.alias),
                alias=variant.alias,
                display_name=variant.display_name,
                publisher=variant.publisher,
                license=variant.license,
            )
            return adopt(work / "built", told, home, note)
