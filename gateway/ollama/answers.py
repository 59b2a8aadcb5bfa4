"""The answers of Ollama's API."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cupola.gateway.core.vectors import Numbers


class OllamaCalledFunction(msgspec.Struct, frozen=True):
    index: int
    name: str
    arguments: dict[str, Any]


class OllamaAnswerCall(msgspec.Struct, frozen=True):
    id: str
    function: OllamaCalledFunction


class OllamaToken(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class OllamaLogprob(OllamaToken, frozen=True):
    top_logprobs: list[OllamaToken]


class OllamaAnswerMessage(msgspec.Struct, frozen=True):
    role: Literal["assistant"]
    content: str
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[OllamaAnswerCall] | msgspec.UnsetType = msgspec.UNSET


DoneReason = Literal["stop", "length", "load", "unload"]


class OllamaChatAnswer(msgspec.Struct):
    """One answer, or one line of a streamed one. Durations are in nanoseconds."""

    model: str
    created_at: str
    message: OllamaAnswerMessage
    done: bool = False
    done_reason: DoneReason | msgspec.UnsetType = msgspec.UNSET
    total_duration: int | msgspec.UnsetType = msgspec.UNSET
    load_duration: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_count: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_duration: int | msgspec.UnsetType = msgspec.UNSET
    eval_count: int | msgspec.UnsetType = msgspec.UNSET
    eval_duration: int | msgspec.UnsetType = msgspec.UNSET
    logprobs: list[OllamaLogprob] | msgspec.UnsetType = msgspec.UNSET


class OllamaGenerateAnswer(msgspec.Struct):
    """One answer, or one line of a streamed one. Durations are in nanoseconds."""

    model: str
    created_at: str
    response: str
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    done: bool = False
    done_reason: DoneReason | msgspec.UnsetType = msgspec.UNSET
    total_duration: int | msgspec.UnsetType = msgspec.UNSET
    load_duration: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_count: int | msgspec.UnsetType = msgspec.UNSET
    prompt_eval_duration: int | msgspec.UnsetType = msgspec.UNSET
    eval_count: int | msgspec.UnsetType = msgspec.UNSET
    eval_duration: int | msgspec.UnsetType = msgspec.UNSET
    logprobs: list[OllamaLogprob] | msgspec.UnsetType = msgspec.UNSET


# Only the place of the text differs. The order of the fields is Ollama's, so none is inherited.
OllamaAnswer = OllamaChatAnswer | OllamaGenerateAnswer


class OllamaEmbedAnswer(msgspec.Struct, frozen=True):
    model: str
    embeddings: list[Numbers]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbeddingsAnswer(msgspec.Struct, frozen=True):
    embedding: Numbers


class OllamaDetails(msgspec.Struct, frozen=True):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(msgspec.Struct, frozen=True):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails
    capabilities: list[str]


class OllamaTags(msgspec.Struct, frozen=True):
    models: list[OllamaModel]


class OllamaRunningModel(OllamaModel, frozen=True):
    expires_at: str
    size_vram: int
    context_length: int


class OllamaRunning(msgspec.Struct, frozen=True):
    models: list[OllamaRunningModel]


class OllamaShown(msgspec.Struct, frozen=True):
    license: str
    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(msgspec.Struct, frozen=True):
    version: str  # of the Ollama whose API this is
    cupola: str


class OllamaProgress(msgspec.Struct, frozen=True):
    """One line of a download."""

    status: str | msgspec.UnsetType = msgspec.UNSET
    digest: str | msgspec.UnsetType = msgspec.UNSET
    total: int | msgspec.UnsetType = msgspec.UNSET
    completed: int | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
