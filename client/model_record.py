"""A model of the catalog as the commands print it in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cupola.client.recommendation import needed_mb

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant


def record(variant: ModelVariant, cached: bool, loaded: bool = False) -> dict[str, Any]:
    """A model in JSON."""
    return {
        "id": variant.id,
        "alias": variant.alias,
        "displayName": variant.display_name,
        "publisher": variant.publisher,
        "license": variant.license,
        "task": variant.task,
        "device": variant.device,
        "executionProvider": variant.provider,
        "fileSizeMb": variant.file_size_mb,
        "contextLength": variant.context_length,
        "maxOutputTokens": variant.max_output_tokens,
        "memoryMb": needed_mb(variant),
        "parametersBillions": variant.billions or None,
        "sampling": variant.parameters,
        "tags": variant.tags,
        "about": variant.about,
        "cached": cached,
        "loaded": loaded,
    }
