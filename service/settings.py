"""The settings of a service: one class says what can be set and what is allowed.

``setting_sources.load`` fills it. The flags, the variables and the documents are made from it, with
the words of ``setting_texts``. Nothing here reads, starts or creates anything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cupola.cache.home import Home
from cupola.service.setting_types import (
    ALLOWED_WORKERS,
    AUTO,
    Aliases,
    Folder,
    Group,
    LogLevel,
    Names,
    Slots,
    SocketPath,
    Ttl,
    Workers,
    worker_tables,
)
from cupola.service.worker_tables import WorkerTable

PREFIX = "CUPOLA_"


class SettingsError(ValueError):
    """A key that does not exist, or a value that is not allowed: the text names key and source."""


class Settings(BaseSettings):
    """Everything that can be set about a service. Reads nothing by itself.

    The first sentence of a description stands alone in short lists.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, allow_inf_nan=False
    )

    host: Annotated[str, Group.NETWORK] = Field(
        default="localhost",
        min_length=1,
        description="The address to listen on. 'localhost' is this machine, by IPv4 and by IPv6. "
        "'0.0.0.0' serves the whole network, and then clients need API keys: see 'cupola keys'.",
    )
    port: Annotated[int, Group.NETWORK] = Field(
        default=5273, ge=0, le=65535, description="The port to listen on. 0: any free port."
    )
    uds: Annotated[SocketPath, Group.NETWORK] = Field(
        default="",
        description="The path of a Unix socket to listen on as well. Only programs of the same "
        "user can connect to it. Empty: none.",
    )
    tls_certificate: Annotated[SocketPath, Group.NETWORK] = Field(
        default="",
        description="The file of a certificate for TLS, in PEM form, with those of its issuers. "
        "The service then speaks https only, except on the Unix socket. Empty: no TLS.",
    )
    tls_key: Annotated[SocketPath, Group.NETWORK] = Field(
        default="",
        description="The file of the certificate's private key, in PEM form and without a "
        "password. Empty: it is in the certificate's file.",
    )
    ollama_port: Annotated[int, Group.NETWORK] = Field(
        default=0,
        ge=0,
        le=65535,
        description="A second port that serves Ollama's API only. Ollama's clients expect 11434. "
        "0: none.",
    )
    gateways: Annotated[int, Group.NETWORK] = Field(
        default=1,
        ge=1,
        le=64,
        description="The number of gateway processes that share the port. Raise it when one "
        "gateway keeps a core busy.",
    )
    max_body_bytes: Annotated[int, Group.NETWORK] = Field(
        default=16 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="The largest body of a request, in bytes.",
    )
    max_audio_bytes: Annotated[int, Group.NETWORK] = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="The largest recording that is transcribed, in bytes.",
    )
    grace_seconds: Annotated[float, Group.NETWORK] = Field(
        default=10,
        ge=0,
        le=3600,
        description="Seconds that running answers get to finish when the service stops.",
    )
    legacy_keys: Annotated[Literal["no", "yes"], Group.NETWORK] = Field(
        default="no",
        description="Whether chat completions also have the keys of Foundry Local 0.8. 'yes' adds "
        "keys that OpenAI's API does not have, such as 'delta' beside 'message'.",
    )

    home: Annotated[Folder, Group.MODELS] = Field(
        default_factory=lambda: Home.default().root,
        description="The folder of models, logs and the settings file.",
    )
    model: Annotated[str, Group.MODELS] = Field(
        default="smollm2-135m",
        description="The model to load at the start. 'cupola serve' downloads it if it is not on "
        "the disk. Other models are loaded when they are first used. Empty: none.",
    )
    preload: Annotated[Names, Group.MODELS] = Field(
        default="", description="More models to load at the start: names, separated by commas."
    )
    pinned: Annotated[Names, Group.MODELS] = Field(
        default="",
        description="Models to load at the start and never unload: names, separated by commas.",
    )
    model_ttl: Annotated[Ttl, Group.MODELS] = Field(
        default=600,
        ge=-1,
        description="Seconds that an unused model stays loaded. A request can give its model "
        "another time. -1: for ever.",
    )
    catalogs: Annotated[Names, Group.MODELS] = Field(
        default="",
        description="Catalogs beside the built-in one: files, addresses, and 'azure' for Foundry "
        "Local's. Commas separate them. Their form is in docs/models.md; "
        "'cupola model list --refresh' fetches those on servers.",
    )
    aliases: Annotated[Aliases, Group.MODELS] = Field(
        default="",
        description="More names for models, such as 'gpt-4o-mini=qwen2.5-1.5b', separated by "
        "commas. In the settings file they are a table: [aliases].",
    )
    download_rate_mb: Annotated[float, Group.MODELS] = Field(
        default=0,
        ge=0,
        description="The most that a download loads, in MB a second. What pip loads is not "
        "limited. 0: no limit.",
    )
    stored_responses: Annotated[int, Group.MODELS] = Field(
        default=1000,
        ge=0,
        le=1_000_000,
        description="The number of answers of /v1/responses that are stored. An answer is stored "
        "for 30 days. Where keys are needed, each key has this number. 0: none.",
    )
    stored_response_mb: Annotated[int, Group.MODELS] = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="The size of the stored answers, in MB. The oldest make room for new ones. "
        "Where keys are needed, each key has this size.",
    )

    workers: Annotated[Workers, NoDecode, Group.ENGINE] = Field(
        default="cpu:0",
        description=f"The worker processes: {ALLOWED_WORKERS}. A count means workers on the CPU. "
        "The workers divide the threads among them. In the settings file they may be tables, "
        "[[workers]], that say more: see docs/settings.md. 'cupola workers' changes them while the "
        "service runs.",
    )
    threads: Annotated[int, Group.ENGINE] = Field(
        default=0,
        ge=0,
        le=1024,
        description="The number of threads of all workers together. 0: one for each core.",
    )
    slots: Annotated[Slots, Group.ENGINE] = Field(
        default=AUTO,
        description="The number of sequences that a worker runs at once. Further requests wait. "
        "More slots raise the throughput and make each answer slower. 'auto' begins with 16 for "
        "each model and learns from the time of steps how many keep the pace that itl_ms asks "
        "for, up to 128. It stays at 16 on GPUs, with onnxruntime-genai and with kv_cache 'int8'.",
    )
    spare_slots: Annotated[int, Group.ENGINE] = Field(
        default=2,
        ge=0,
        le=64,
        description="Further slots of a worker, for clients that run nothing there. A client that "
        "sends one request need not wait behind another that sends many. 0: none.",
    )
    decision_permutations: Annotated[int, Group.ENGINE] = Field(
        default=1,
        ge=1,
        le=255,
        description="The number of orders in which a decision's options are asked. It counts where "
        "the request does not say it. The results are averaged. Each order is read, so it takes "
        "as many times as long.",
    )
    context: Annotated[int, Group.ENGINE] = Field(
        default=0,
        ge=0,
        le=1_048_576,
        description="The longest context of a sequence, in tokens. 0: the model's own.",
    )
    step_tokens: Annotated[int, Group.ENGINE] = Field(
        default=256,
        ge=1,
        le=65536,
        description="The most tokens that one engine step runs. Decoding sequences take one token "
        "or a few; prefill chunks take the rest. Larger steps read long prompts faster.",
    )
    recording_parts: Annotated[int, Group.ENGINE] = Field(
        default=4,
        ge=1,
        le=64,
        description="Into how many parts, of a minute or more, a long recording is cut at silence. "
        "They are transcribed side by side. 1: each window begins where the one before ended.",
    )
    itl_ms: Annotated[float, Group.ENGINE] = Field(
        default=100,
        gt=0,
        le=60_000,
        description="Milliseconds between two tokens of an answer while prompts are read beside "
        "it. The engine sizes the prefill chunks by it, so that all but one step of a hundred keep "
        "it, also while short prompts come beside long ones. Raise it to read long prompts faster; "
        "lower it for smoother answers.",
    )
    queue_limit: Annotated[int, Group.ENGINE] = Field(
        default=256,
        ge=0,
        le=1_000_000,
        description="The number of requests that may wait. Further requests are refused with "
        "status 503. A client that has four times as many waiting as there are places left is "
        "refused with status 429.",
    )
    queue_tokens: Annotated[int, Group.ENGINE] = Field(
        default=1_000_000,
        ge=0,
        le=1_000_000_000,
        description="The number of prompt tokens that may wait, at about four bytes each. Further "
        "requests are refused as with queue_limit. 0: any number.",
    )
    queue_timeout: Annotated[float, Group.ENGINE] = Field(
        default=300,
        gt=0,
        le=86_400,
        description="Seconds that a request may wait in the queue. Then it fails with status 503.",
    )
    stall_seconds: Annotated[float, Group.ENGINE] = Field(
        default=60,
        ge=5,
        le=86_400,
        description="Seconds after which a process that makes no progress is killed and started "
        "again. One step of a model on a slow machine must be shorter. A worker that loads a "
        "model or runs onnxruntime-genai has ten times as long, and at least 10 minutes.",
    )
    reproducible: Annotated[Literal["asked", "always", "no"], Group.ENGINE] = Field(
        default="asked",
        description="Which requests have the same answer whenever they come again, to the last "
        "bit. 'asked': those at temperature 0 and those with a seed. 'always': all; what they "
        "draw without a seed still differs. 'no': none, which is a little faster.",
    )
    warm_up: Annotated[Literal["yes", "no"], Group.ENGINE] = Field(
        default="yes",
        description="Whether a worker prepares for a model's first requests while it has none. It "
        "touches memory and finds the fastest way to run a step, which takes some seconds of a "
        "processor after each load. 'no': the first burst of requests is slower.",
    )
    backend: Annotated[Literal["onnx", "genai", "echo"], Group.ENGINE] = Field(
        default="onnx",
        description="What runs the models. 'onnx' is Cupola's engine on ONNX Runtime. 'genai' is "
        "onnxruntime-genai, which runs one request after the other. 'echo' runs no model and is "
        "meant for tests.",
    )

    kv_memory_mb: Annotated[int, Group.MEMORY] = Field(
        default=0,
        ge=0,
        description="The memory of each worker's KV cache, in MB. 0: half of the free memory, "
        "divided among the workers.",
    )
    prefix_cache_mb: Annotated[int, Group.MEMORY] = Field(
        default=-1,
        ge=-1,
        description="The memory of each model's prefix cache, beside the KV cache, in MB. There a "
        "worker keeps what it has read and generated on the CPU, so that a prompt that begins "
        "alike is read from there on. The least recently used goes first, and all of it after ten "
        "minutes without a request. 0: only free slots keep what ran in them. -1: a quarter of "
        "the free memory, divided among the workers, at most 1024.",
    )
    prefix_disk_mb: Annotated[int, Group.MEMORY] = Field(
        default=0,
        ge=0,
        description="The disk space of all models' prefix caches, in MB. Keys and values are "
        "written to cache/prefixes while a worker is idle and when it stops, and a prompt that "
        "begins alike is read from there, also after a restart. Who can read that folder can find "
        "out what the prompts were; only the service's user can. 0: nothing is written.",
    )
    kv_cache: Annotated[Literal["model", "int8"], Group.MEMORY] = Field(
        default="model",
        description="The precision of the KV cache of models on CPUs. 'model' keeps keys and "
        "values as the model has them. 'int8' takes a quarter of the memory and half the time to "
        "read, and is slightly less exact.",
    )
    shared_weights: Annotated[Literal["auto", "yes", "no"], Group.MEMORY] = Field(
        default="auto",
        description="Whether workers on CPUs share one copy of a model's weights. The copy is a "
        "file in the models' folder that the workers map. 'auto' shares it where there are "
        "several workers. 'no' gives each worker its own copy.",
    )
    shared_weights_disk_mb: Annotated[int, Group.MEMORY] = Field(
        default=0,
        ge=0,
        description="The most that files of shared weights may take on the disk, in MB. Those "
        "that were unused longest are deleted first, and all that were unused for 30 days. "
        "0: a quarter of the disk.",
    )
    block_weights_mb: Annotated[int, Group.MEMORY] = Field(
        default=512,
        ge=0,
        description="The largest integer weights that are in memory a second time, in blocks, in "
        "MB. The blocks have four bits where the model has a graph of its own for them. They make "
        "runs of few tokens faster on some processors; a worker uses them "
        "where they do. They are not used at temperature 0, with a seed, with shared weights or "
        "with kv_cache 'int8'. Lower it to save memory. 0: never.",
    )
    lane_weights_mb: Annotated[int, Group.MEMORY] = Field(
        default=512,
        ge=0,
        description="The largest model on a CPU that has lanes, in MB. Lanes are two more "
        "sessions, each with half of the threads. They run the halves of a step side by side where "
        "that is faster; if it never is, they and their file are deleted and not tried again for a "
        "week. They map the weights from a file, so shared_weights must not be 'no'. "
        "Lower it to save memory. 0: never.",
    )

    api_keys: Annotated[Literal["network", "always"], Group.SECURITY] = Field(
        default="network",
        description="When clients need an API key. 'network': when other machines can reach the "
        "service. 'always': also on this machine, as for a service behind a proxy. "
        "'cupola keys add' makes keys; CUPOLA_API_KEY and CUPOLA_ADMIN_KEY can hold one each.",
    )
    insecure: Annotated[Literal["no", "yes"], Group.SECURITY] = Field(
        default="no",
        description="Whether a service that other machines can reach needs no API keys. 'yes' "
        "lets whoever reaches the port use the models.",
    )
    hosts: Annotated[Names, Group.SECURITY] = Field(
        default="",
        description="Names by which clients call this service, besides its own. They are names or "
        "patterns such as '*.example.org', separated by commas. Requests with another Host header "
        "are refused, so that no web page can pass itself off as this service.",
    )
    cors_origins: Annotated[Names, Group.SECURITY] = Field(
        default="",
        description="Web pages that may use the service: origins, separated by commas. An example "
        "is 'https://app.example.org,null'. Pages of this machine always may. '*': all pages.",
    )
    tenants: Annotated[Literal["one", "keys"], Group.SECURITY] = Field(
        default="one",
        description="Who shares cached prompt beginnings and guesses from earlier answers. 'one': "
        "all clients. 'keys': only clients with the same API key, so that response times tell "
        "nobody what others have sent.",
    )
    audio_folder: Annotated[str, Group.SECURITY] = Field(
        default="",
        description="The folder whose recordings clients may name instead of sending them. "
        "Foundry Local's clients do: POST /v1/audio/transcriptions with 'filename'. Empty: none.",
    )
    remote_hosts: Annotated[Names, Group.SECURITY] = Field(
        default="",
        description="Hosts besides this machine where registered models may be: names, separated "
        "by commas. Requests for such a model are forwarded to its host.",
    )

    log_level: Annotated[LogLevel, Group.LOGGING] = Field(
        default="info",
        description="The least severe messages in the log: 'debug', 'info', 'warning' or 'error'. "
        "'cupola service log-level' changes it while the service runs.",
    )
    log_format: Annotated[Literal["console", "json"], Group.LOGGING] = Field(
        default="console",
        description="The form of the log. 'console' is for people; 'json' is one object a line.",
    )

    otlp_endpoint: Annotated[str, Group.LOGGING] = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="The address of an OpenTelemetry collector, such as 'http://127.0.0.1:4318'. "
        "It is sent traces and metrics of requests, without any of their text. It needs the extra "
        "'telemetry'. Empty: none.",
    )

    @property
    def worker_tables(self) -> tuple[WorkerTable, ...]:
        """What is said of the workers."""
        return worker_tables(self.workers)

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of every worker, e.g. ``("cpu:0", "cpu:0")``."""
        return tuple(table.device for table in self.worker_tables for _ in range(table.count))

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_bool(cls, value: Any) -> Any:
        if isinstance(value, bool):  # pydantic would take true for 1
            raise ValueError("not a value of this setting")
        return value

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
