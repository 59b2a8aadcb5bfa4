"""The settings of a service: one class says what can be set and what is allowed.

``setting_sources.load`` fills it. Nothing here reads, starts or creates anything.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import annotated_types
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home

PREFIX = "CUPOLA_"
_DEVICE = re.compile(rf"({'|'.join(each.name.lower() for each in ExecutionProvider)})(:\d{{1,3}})?")
_MAX_WORKERS = 64
_WORKERS = f"a count from 1 to {_MAX_WORKERS}, or a list of devices such as 'cpu:0,cuda:0'"


class SettingsError(ValueError):
    """A key that does not exist, or a value that is not allowed: the text names key and source."""


class Settings(BaseSettings):
    """Everything that can be set about a service. Reads nothing by itself."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, allow_inf_nan=False
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(
        default=5273, ge=0, le=65535, description="port to listen on; 0 = any free one"
    )
    uds: str = Field(
        default="", description="path of a Unix socket to listen on as well; empty = none"
    )
    ollama_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="a second port, with Ollama's API only: its clients look at 11434; 0 = none",
    )
    home: Path = Field(
        default_factory=lambda: Home.default().root,
        description="folder of models, logs and the settings file",
    )
    model: str = Field(
        default="smollm2-135m", description="model that is loaded at the start; empty = none"
    )
    preload: str = Field(
        default="", description="more models that are loaded at the start: names with commas"
    )
    pinned: str = Field(
        default="", description="models that stay loaded from the start on: names with commas"
    )
    workers: str = Field(default="cpu:0", description=f"worker processes: {_WORKERS}")
    gateways: int = Field(
        default=1, ge=1, le=64, description="gateway processes that share the port"
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="threads of all workers together; 0 = one for each core",
    )
    slots: int = Field(default=16, ge=1, le=1024, description="requests that a worker runs at once")
    step_tokens: int = Field(
        default=256, ge=1, le=65536, description="token budget of one engine step"
    )
    itl_ms: float = Field(
        100, gt=0, le=60_000, description="time between two tokens that long prompts may not exceed"
    )
    kv_memory_mb: int = Field(
        0, ge=0, description="memory of each worker's K/V cache; 0 = half of what is free"
    )
    context: int = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="upper limit of the context length; 0 = the model's own",
    )
    queue_limit: int = Field(default=256, ge=0, le=1_000_000, description="requests that may wait")
    queue_timeout: float = Field(
        default=300, gt=0, le=86_400, description="seconds that a request may wait in the queue"
    )
    model_ttl: float = Field(
        default=600, ge=-1, description="seconds that an unused model stays loaded; -1 = for ever"
    )
    grace_seconds: float = Field(
        default=10,
        ge=0,
        le=3600,
        description="seconds that running answers get to finish at a stop",
    )
    max_body_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1024, le=1024**3, description="largest body of a request"
    )
    stored_responses: int = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description="responses of /v1/responses that are kept, for 30 days; 0 = none",
    )
    cors_origins: str = Field(
        default="",
        description="web pages that may use the service besides this machine's: origins with "
        "commas, such as 'https://app.example.org,null'; '*' = all",
    )
    tenants: Literal["one", "keys"] = Field(
        default="one",
        description="who shares cached beginnings of prompts and guesses from earlier answers: "
        "'one': all clients; 'keys': only those with the same API key, so that none learns from "
        "the time what others have sent",
    )
    legacy_keys: Literal["no", "yes"] = Field(
        default="no",
        description="'yes': chat completions also have the keys of Foundry Local 0.8, such as "
        "'delta' beside 'message', which OpenAI's API has not",
    )
    remote_hosts: str = Field(
        default="",
        description="where registered models may be besides this machine: host names with commas",
    )
    kv_cache: Literal["model", "int8"] = Field(
        default="model",
        description="how models on CPUs keep keys and values: 'model': as the model has them; "
        "'int8': in a quarter of the memory, read in half the time, a little less exact",
    )
    shared_weights: Literal["auto", "yes", "no"] = Field(
        default="auto",
        description="'yes': workers on CPUs map a model's weights from one file in the models' "
        "folder; 'no': each has its own copy; 'auto' = 'yes' where there are several",
    )
    block_weights_mb: int = Field(
        default=512,
        ge=0,
        description="integer weights that take at most so much are in memory once more, in blocks, "
        "if runs of few tokens are faster with them here; not for answers at temperature 0 or "
        "with a seed, where workers share weights, or keys and values are 'int8'; 0: never",
    )
    lane_weights_mb: int = Field(
        default=512,
        ge=0,
        description="a model on a CPU that is at most so large has two more sessions, each with "
        "half of the threads, that run the halves of a step side by side if that is faster here; "
        "they map its weights from a file, which 'shared_weights' must not forbid; 0: never",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="what the log holds"
    )
    backend: Literal["onnx", "genai", "echo"] = Field(
        default="onnx",
        description="what runs the models: 'genai' is onnxruntime-genai, without batching; "
        "'echo' runs none and is meant for tests",
    )

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of every worker, e.g. ``("cpu:0", "cpu:0")``."""
        if self.workers.isdecimal():
            return ("cpu:0",) * int(self.workers)
        names = [name.strip() for name in self.workers.split(",")]
        return tuple(name if ":" in name else f"{name}:0" for name in names)

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would take true for 1, and an empty path for the working directory.
        if isinstance(value, bool) or (info.field_name == "home" and value == ""):
            raise ValueError("not a value of this setting")
        return value

    @field_validator("workers", "preload", "pinned", "cors_origins", "remote_hosts", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        # TOML has numbers and lists where the command line has text.
        if isinstance(value, list):
            return ",".join(str(item) for item in value)
        return str(value) if isinstance(value, int) else value

    @field_validator("workers")
    @classmethod
    def _is_workers(cls, value: str) -> str:
        names = value.split(",")
        count = int(value) if value.isdecimal() else len(names)
        known = value.isdecimal() or all(_DEVICE.fullmatch(name.strip()) for name in names)
        if not known or not 1 <= count <= _MAX_WORKERS:
            raise ValueError("not a list of workers")
        return value

    @field_validator("model_ttl")
    @classmethod
    def _is_ttl(cls, value: float) -> float:
        if -1 < value < 0:
            raise ValueError("neither a duration nor -1")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("uds")
    @classmethod
    def _absolute_text(cls, value: str) -> str:
        return str(Path(value).expanduser().absolute()) if value else ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # ``setting_sources`` reads them one by one, to know where each value came from.
        return (init_settings,)


def listed(value: str) -> tuple[str, ...]:
    """The items of a setting that is a list."""
    return tuple(item.strip() for item in value.split(",") if item.strip())


def flag(key: str) -> str:
    """A setting's name on the command line."""
    return "--" + key.replace("_", "-")


def variable(key: str) -> str:
    """A setting's name in the environment."""
    return PREFIX + key.upper()


def allowed(key: str) -> str:
    """What a setting may be, in words."""
    field = Settings.model_fields[key]
    if key == "workers":
        return _WORKERS
    if key == "model_ttl":
        return "a number of at least 0, or -1"
    if field.annotation in (int, float):
        kind = "a whole number" if field.annotation is int else "a number"
        return " ".join([kind, *filter(None, map(_limit, field.metadata))])
    if choices := getattr(field.annotation, "__args__", None):
        return "one of " + ", ".join(choices)
    return "a folder" if field.annotation is Path else "text"


def _limit(rule: object) -> str:
    match rule:
        case annotated_types.Ge(ge=limit):
            return f"from {limit}"
        case annotated_types.Gt(gt=limit):
            return f"above {limit},"
        case annotated_types.Le(le=limit):
            return f"up to {limit}"
    return ""
