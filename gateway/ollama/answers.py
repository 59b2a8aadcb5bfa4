"""The answers of Ollama's API, for its description: ``ollama_frames`` and others make them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class OllamaErrorAnswer(TypedDict):
    error: str
    code: str | None  # beside Ollama's own field
    param: str | None


class OllamaAnswerMessage(TypedDict):
    role: Literal["assistant"]
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[dict[str, Any]]]


class _Ended(TypedDict):
    """What both answers have. Durations are in nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: NotRequired[Literal["stop", "length", "load", "unload"]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]
    logprobs: NotRequired[list[dict[str, Any]]]


class OllamaChatAnswer(_Ended):
    """One answer, or one line of a streamed one."""

    message: OllamaAnswerMessage


class OllamaGenerateAnswer(_Ended):
    """One answer, or one line of a streamed one."""

    response: str
    thinking: NotRequired[str]


class OllamaEmbedAnswer(TypedDict):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbeddingsAnswer(TypedDict):
    embedding: list[float]


class OllamaDetails(TypedDict):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(TypedDict):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails
    capabilities: list[str]


class OllamaTags(TypedDict):
    models: list[OllamaModel]


class OllamaRunningModel(OllamaModel):
    expires_at: str
    size_vram: int
    context_length: int


class OllamaRunning(TypedDict):
    models: list[OllamaRunningModel]


class OllamaShown(TypedDict):
    license: str
    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(TypedDict):
    version: str  # of the Ollama whose API this is
    cupola: str


class OllamaProgress(TypedDict):
    """One line of a download."""

    status: NotRequired[str]
    digest: NotRequired[str]
    total: NotRequired[int]
    completed: NotRequired[int]
    error: NotRequired[str]
