"""What Azure's catalog of Foundry Local says about a model, in the forms of its generations. Pure.

Entries come nested (``properties`` and ``annotations``) from either address, or flat from the newer
one. Fields may be missing, and texts come where numbers are meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cupola.cache.catalog import (
    AzureSource,
    DeviceType,
    ExecutionProvider,
    ModelVariant,
    provider_named,
)
from cupola.cache.model_address import safe
from cupola.cache.model_config import alias_of

_NAME_OF_PARENT = re.compile(r"/models/([^/]+)")
_TASKS = {"embeddings": "embeddings", "embedding": "embeddings"}


def variant_of(entry: Any, region: str = "") -> ModelVariant | None:
    """The variant of an entry; None: it is no model that could be run.

    ``region``: of the servers that have answered; its files are asked for there first.
    """
    entry = _object(entry)
    uri = _text(entry, "assetId")
    flat = entry if "properties" not in entry else _flat(entry)
    name, version = _text(flat, "name"), _number(flat, "version")
    info = _object(flat.get("variantInformation"))
    metadata = _object(info.get("variantMetadata"))
    try:
        provider = provider_named(_text(metadata, "executionProvider")) or ExecutionProvider.CPU
        device = DeviceType((_text(metadata, "device") or "cpu").upper())
    except ValueError:
        return None  # of hardware that has come since
    # An entry without a variant is about a family of them.
    if not uri or not info or not safe(name) or safe(name) != name:
        return None
    model_id = f"{name}:{version}"
    limits = _object(_object(flat.get("modelLimits")).get("textLimits"))
    tags = [
        tag
        for tag, says in (
            ("tools", _is_true(flat, "supportsToolCalling") or _has(flat, "tool-calling")),
            ("reasoning", _is_true(flat, "supportsReasoning") or _has(flat, "reasoning")),
        )
        if says
    ]
    task = _task(flat)
    return ModelVariant(
        id=model_id,
        alias=_text(flat, "alias") or _parent(info) or alias_of(model_id),
        display_name=_text(flat, "displayName") or name,
        publisher=safe(_text(flat, "publisher")) or "azureml",
        license=_text(flat, "license"),
        provider=provider,
        device=device,
        task=task,
        file_size_mb=_number(metadata, "fileSizeBytes") // 1_000_000,
        context_length=_number(limits, "inputContextWindow"),
        max_output_tokens=_number(limits, "maxOutputTokens"),
        created_at=_seconds(_text(flat, "createdTime")),
        source=AzureSource(uri, region),
        tags=("embedding",) if task == "embeddings" else ("chat", *tags),
    )


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A nested entry in the form of a flat one."""
    properties = _object(entry["properties"])
    annotations = _object(entry.get("annotations"))
    system, tags = _object(annotations.get("systemCatalogData")), _object(annotations.get("tags"))
    texts = {"inputContextWindow": system.get("textContextWindow")}
    texts["maxOutputTokens"] = system.get("maxOutputTokens") or tags.get("maxOutputTokens")
    flat = {**tags, **{key: value for key, value in system.items() if value is not None}}
    return {
        **flat,
        "name": properties.get("name"),
        "version": properties.get("version"),
        "createdTime": _object(properties.get("creationContext")).get("createdTime"),
        "variantInformation": properties.get("variantInfo"),
        "modelLimits": system.get("modelLimits") or {"textLimits": texts},
    }


def _task(flat: Mapping[str, Any]) -> str:
    listed = flat.get("inferenceTasks")
    first = listed[0] if isinstance(listed, list) and listed else flat.get("task")
    return _TASKS.get(str(first or ""), str(first or "chat-completion"))


def _parent(info: Mapping[str, Any]) -> str:
    parents = info.get("parents")
    first = _object(parents[0]) if isinstance(parents, list) and parents else {}
    found = _NAME_OF_PARENT.search(_text(first, "assetId"))
    return found[1] if found else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) and value.isprintable() else ""


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    if isinstance(value, str) and value.isdecimal():
        return int(value[:18])
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60:
        return value
    return 0


def _is_true(values: Mapping[str, Any], key: str) -> bool:
    return str(values.get(key)).lower() == "true"


def _has(values: Mapping[str, Any], capability: str) -> bool:
    listed = values.get("modelCapabilities")
    return isinstance(listed, list) and capability in [str(each).lower() for each in listed]


def _seconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())
    except ValueError:
        return 0
