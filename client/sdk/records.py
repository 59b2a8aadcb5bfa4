"""A model as the SDK describes it, made from an entry of the service's list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cupola.cache.catalog import DeviceType, ExecutionProvider


@dataclass(frozen=True, slots=True)
class FoundryModelInfo:
    """What is known about one variant of a model; the fields are those of Foundry Local's SDK."""

    alias: str
    id: str
    version: str
    execution_provider: str
    device_type: DeviceType
    uri: str
    file_size_mb: int
    supports_tool_calling: bool
    prompt_template: Mapping[str, str] | None
    provider: str
    publisher: str
    license: str
    task: str
    ep_override: str | None = None
    max_output_tokens: int | None = None

    @classmethod
    def from_list_response(cls, response: Mapping[str, Any]) -> FoundryModelInfo:
        """An entry of ``/foundry/list``. Raises LookupError, ValueError when it is none."""
        return cls(
            alias=response["alias"],
            id=response["name"],
            version=str(response["version"]),
            execution_provider=response["runtime"]["executionProvider"],
            device_type=DeviceType(response["runtime"]["deviceType"]),
            uri=response["uri"],
            file_size_mb=response["fileSizeMb"],
            supports_tool_calling=response["supportsToolCalling"],
            prompt_template=response["promptTemplate"],
            provider=response["providerType"],
            publisher=response["publisher"],
            license=response["license"],
            task=response["task"],
            max_output_tokens=response.get("maxOutputTokens"),
        )

    def to_download_body(self) -> dict[str, Any]:
        """The model in the words of ``/openai/download``."""
        local = "AzureFoundryLocal" if self.provider == "AzureFoundry" else self.provider
        return {
            "Name": self.id,
            "Uri": self.uri,
            "Publisher": self.publisher,
            "ProviderType": local,
            "PromptTemplate": self.prompt_template,
        }

    @property
    def runtime(self) -> ExecutionProvider:
        """What runs it; the name is that of Foundry Local's SDK 0.3."""
        return ExecutionProvider(self.execution_provider)

    @property
    def number(self) -> int:
        """The version in the id; -1 where there is none."""
        number = self.id.rpartition(":")[2]
        return int(number) if number.isdecimal() else -1


def catalog_of(entries: Iterable[Mapping[str, Any]]) -> list[FoundryModelInfo]:
    """The list's entries as records, in its order, which is that of preference.

    Where a model for CUDA is listed, the machine has it, and generic GPU models run on it too.
    """
    models = [FoundryModelInfo.from_list_response(entry) for entry in entries]
    if all(model.execution_provider != ExecutionProvider.CUDA for model in models):
        return models
    return [replace(m, ep_override="cuda") if "-generic-gpu:" in m.id else m for m in models]


def by_name(models: Iterable[FoundryModelInfo]) -> dict[str, FoundryModelInfo]:
    """The models by their ids and aliases; an alias means its first model."""
    named: dict[str, FoundryModelInfo] = {}
    for model in models:
        named[model.id] = model
        named.setdefault(model.alias, model)
    return named


def select(
    models: Iterable[FoundryModelInfo],
    key: str,
    device: DeviceType | None = None,
    prefer_cpu: bool = False,
) -> FoundryModelInfo | None:
    """What ``key`` means: an id, an id without its version (the newest), or an alias (the first).

    ``device`` chooses among an alias's variants; ``prefer_cpu`` takes the CPU's before a generic
    GPU's that no override gives to CUDA, as Foundry Local does on Windows.
    """
    models, wanted = list(models), key.casefold()
    for model in models:
        if model.id.casefold() == wanted:
            return model
    versions = [model for model in models if model.id.casefold().startswith(wanted + ":")]
    if versions:
        return max(versions, key=lambda model: model.number)
    named = [m for m in models if m.alias.casefold() == wanted and device in (None, m.device_type)]
    if not named:
        return None
    first = named[0]
    if prefer_cpu and device is None and "-generic-gpu:" in first.id and not first.ep_override:
        return next((m for m in named if m.device_type == DeviceType.CPU), first)
    return first
