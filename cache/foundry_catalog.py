"""``foundry.modelinfo.json``, Foundry Local's file of what its catalog has, among the models.

Its own SDKs know a model on the disk only if this file lists it: 1.2.4 fails without the file, and
2.2.1 lists nothing. So it is written when the models on the disk change. There are two forms: an
array (the service of 0.x), and an object with a version (1.x and later). The latter is written.
Where a service of 0.x keeps the file, it stays an array: that program makes it anew when it is four
hours old, so a younger array has one, and it keeps its age.

Entries that another program has written stay, as long as they are not about a model of ours.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cupola.cache.catalog import (
    AzureSource,
    DeviceType,
    ExecutionProvider,
    ModelVariant,
    provider_named,
)
from cupola.cache.home import Home
from cupola.cache.model_address import safe

_VERSION = 1
_LIFE_SECONDS = 4 * 3600  # of what a service of 0.x has written
_MAX_BYTES = 32 << 20
_OURS = "azureml://registries/cupola/"
_AZURE = "azureml://registries/azureml/"
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,190}:\d+")
_TOOL_TAGS = ("<tool_call>", "</tool_call>")
_THINK_TAGS = ("<think>", "</think>")


class _Runtime(msgspec.Struct, frozen=True, rename="camel"):
    device_type: str = ""
    execution_provider: str = ""


class FoundryFacts(msgspec.Struct, frozen=True, rename="camel"):
    """What an entry of the file says about a model, as far as it is used."""

    id: str = ""
    name: str = ""  # in the older form: the id
    alias: str = ""
    display_name: str = ""
    publisher: str = ""
    license: str = ""
    task: str = ""
    created_at: int = 0
    uri: str = ""
    file_size_mb: int = 0
    detected_region: str = ""
    runtime: _Runtime | None = None

    @property
    def model_id(self) -> str:
        return self.id or self.name


def uri_of(variant: ModelVariant) -> str:
    """The model's URI in Foundry Local's form."""
    return f"{_OURS}models/{variant.name}/versions/{variant.version}"


def read_facts(home: Home) -> dict[str, FoundryFacts]:
    """The entries by their ids in lower case. Empty when there is no file that can be read."""
    found = {}
    for entry in _entries(home.foundry_catalog):
        try:
            facts = msgspec.convert(entry, FoundryFacts, strict=False)
        except msgspec.ValidationError:
            continue
        if facts.model_id:
            found[facts.model_id.casefold()] = facts
    return found


def foreign_variants(home: Home) -> list[ModelVariant]:
    """The models of Azure's catalog that Foundry Local has written into the file."""
    found = []
    for facts in read_facts(home).values():
        if not facts.uri.startswith(_AZURE) or not _MODEL_ID.fullmatch(facts.model_id):
            continue
        try:
            runtime = facts.runtime or _Runtime()
            provider = provider_named(runtime.execution_provider)
            device = DeviceType(runtime.device_type.upper() or "CPU")
        except ValueError:
            continue  # of hardware that has come since
        found.append(
            ModelVariant(
                id=facts.model_id,
                alias=facts.alias or facts.model_id.partition(":")[0],
                display_name=facts.display_name or facts.model_id,
                publisher=safe(facts.publisher) or "azureml",
                license=facts.license,
                provider=provider or ExecutionProvider.CPU,
                device=device,
                task=facts.task or "chat-completion",
                file_size_mb=facts.file_size_mb,
                created_at=facts.created_at,
                source=AzureSource(facts.uri, facts.detected_region),
            )
        )
    return found


def write_catalog(
    home: Home, cached: Iterable[tuple[ModelVariant, Mapping[str, str]]], now: int
) -> bool:
    """Lists ``cached``, the variants on the disk with their prompts in the old form.

    ``now``: Unix seconds. False: nothing has changed, and the file is left alone. Raises OSError.
    """
    entries = [_entry(variant, template) for variant, template in cached]
    ours = {entry["id"].casefold() for entry in entries}
    before = _entries(home.foundry_catalog)
    age = _age_of_array(home.foundry_catalog, now) if any(map(_id, before)) else None
    if age is not None:
        entries = [_older(entry) for entry in entries]
    ours.add("")  # no model has an empty id
    others = [entry for entry in before if not _is_ours(entry) and _id(entry) not in ours]
    if before == (after := [*entries, *others]):
        return False
    content = {"version": _VERSION, "savedAtUnix": now, "models": after} if age is None else after
    home.models.mkdir(parents=True, exist_ok=True)
    new = home.foundry_catalog.with_name(f".{home.foundry_catalog.name}.{secrets.token_hex(4)}")
    try:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
        if age is not None:
            os.utime(new, (now, now - age))
        os.replace(new, home.foundry_catalog)
    finally:
        new.unlink(missing_ok=True)
    return True


def _entry(variant: ModelVariant, template: Mapping[str, str]) -> dict[str, Any]:
    reasoning, tools = "reasoning" in variant.tags, "tools" in variant.tags
    # 1.2.4 reads nothing of a file in which a parameter has no "name" in lower case; 2.2.1's source
    # has capitals.
    parameters = [
        {"name": name, "value": str(value), "Name": name, "Value": str(value)}
        for name, value in variant.parameters.items()
    ]
    return {
        "id": variant.id,
        "name": variant.name,
        "version": variant.version,
        "alias": variant.alias,
        "displayName": variant.display_name,
        "uri": uri_of(variant),
        "providerType": "AzureFoundry",
        "modelType": "ONNX",
        "publisher": variant.publisher,
        "license": variant.license,
        "licenseDescription": f"This model is under the license: {variant.license or 'unknown'}",
        "task": variant.task,
        "minFLVersion": "",
        "parentModelUri": "",
        "toolCallStart": _TOOL_TAGS[0] if tools else "",
        "toolCallEnd": _TOOL_TAGS[1] if tools else "",
        "reasoningStart": _THINK_TAGS[0] if reasoning else "",
        "reasoningEnd": _THINK_TAGS[1] if reasoning else "",
        "promptTemplate": dict(template),
        "modelSettings": {"parameters": parameters},
        "runtime": {
            "deviceType": str(DeviceType(variant.device)),
            "executionProvider": str(ExecutionProvider(variant.provider)),
        },
        "fileSizeMb": variant.file_size_mb,
        "contextLength": variant.context_length,
        "maxOutputTokens": variant.max_output_tokens,
        "createdAt": variant.created_at,
        "supportsToolCalling": tools,
        "supportsReasoning": reasoning,
        "cached": True,
    }


def _older(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as a service of 0.x has it: the name is the id, and the version is a text."""
    older = {key: value for key, value in entry.items() if key not in ("id", "cached")}
    return older | {"name": entry["id"], "version": str(entry["version"]), "testModel": False}


def _age_of_array(path: Path, now: float) -> float | None:
    """How old a file of the older form is, in seconds; None: it is none, or nobody keeps it."""
    try:
        with path.open("rb") as file:
            first = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            age = now - os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    return max(age, 0.0) if first == b"[" and age <= _LIFE_SECONDS else None


def _entries(path: Path) -> list[dict[str, Any]]:
    """The objects of either form; none of a file that is missing or damaged."""
    try:
        with path.open("rb") as file:
            content = msgspec.json.decode(file.read(_MAX_BYTES).removeprefix(b"\xef\xbb\xbf"))
    except (OSError, msgspec.MsgspecError, RecursionError):
        return []
    models = content.get("models") if isinstance(content, dict) else content
    return [each for each in models if isinstance(each, dict)] if isinstance(models, list) else []


def _id(entry: Mapping[str, Any]) -> str:
    return str(entry.get("id") or entry.get("name") or "").casefold()


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("uri", "")).startswith(_OURS)
