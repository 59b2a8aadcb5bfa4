"""The answers of Foundry Local's own addresses. Every field is always there."""

from __future__ import annotations

from typing import Literal

import msgspec


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    endpoint: str  # the first one, as old clients read it
    endpoints: list[str]
    model_dir_path: str
    pipe_name: str | None = None
    is_auto_registration_resolved: bool = True
    auto_registration_status: str


class ProviderAnswer(msgspec.Struct, frozen=True):
    """An execution provider. ``problem`` is empty where it works; ``workers`` run on it."""

    name: str
    works: bool
    problem: str
    workers: list[str]


class CacheLocation(msgspec.Struct, frozen=True):
    location: str


class LoadStatus(msgspec.Struct, frozen=True):
    status: Literal["loaded", "already_loaded"]


class UnloadStatus(msgspec.Struct, frozen=True):
    status: Literal["unloaded", "not_loaded"]


class PromptCount(msgspec.Struct, frozen=True, rename="camel"):
    token_count: int


class DownloadEnd(msgspec.Struct, frozen=True, rename="camel"):
    """The last piece of a download's answer. Both error fields have the same text."""

    success: bool
    error_message: str | None = None
    error: str | None = None


# -- the catalog -----------------------------------------------------------------------------------


class PromptTemplate(msgspec.Struct, frozen=True):
    """The old form of a chat template. Cupola itself uses the model's own."""

    system: str = "{Content}"
    user: str = "{Content}"
    assistant: str = "{Content}"
    prompt: str = "{Content}"


class Runtime(msgspec.Struct, frozen=True, rename="camel"):
    device_type: str
    execution_provider: str


class ModelSettings(msgspec.Struct, frozen=True):
    parameters: tuple[dict[str, str], ...] = ()


def _record_name(field: str) -> str:
    """camelCase, but for the one name that is not."""
    if field == "min_fl_version":
        return "minFLVersion"
    first, *rest = field.split("_")
    return first + "".join(map(str.capitalize, rest))


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, rename=_record_name):
    """One variant. No field is null, and the types are those of the strictest client.

    Python wants ``version`` as text and ``promptTemplate`` as an object. C# and Rust want numbers
    and strings that are never null.
    """

    name: str  # the id, with its version
    display_name: str
    model_type: str = "ONNX"
    provider_type: str = "AzureFoundry"
    uri: str
    version: str
    prompt_template: PromptTemplate = PromptTemplate()
    publisher: str
    task: str
    runtime: Runtime
    file_size_mb: int
    model_settings: ModelSettings = ModelSettings()
    alias: str
    supports_tool_calling: bool = False
    license: str
    license_description: str
    parent_model_uri: str = ""
    max_output_tokens: int
    min_fl_version: str = ""
    test_model: bool = False
