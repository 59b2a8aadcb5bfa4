"""The answers of OpenAI's API. Chunks of a chat are bytes, see ``chunks``."""

from __future__ import annotations

from typing import Literal

import msgspec

from cupola.cache.quality import Quality
from cupola.gateway.core.vectors import Numbers
from cupola.gateway.openai.timings import ServerTimings


class PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class TopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class ContentLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: tuple[TopLogprob, ...]


class ChoiceLogprobs(msgspec.Struct, frozen=True):
    content: tuple[ContentLogprob, ...]
    refusal: None = None


class Function(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class Custom(msgspec.Struct, frozen=True):
    name: str
    input: str


class AnswerCall(msgspec.Struct, frozen=True):
    """A call of a function, or of a custom tool."""

    id: str
    function: Function | msgspec.UnsetType = msgspec.UNSET
    custom: Custom | msgspec.UnsetType = msgspec.UNSET
    type: Literal["function", "custom"] = "function"


class AnswerMessage(msgspec.Struct, frozen=True):
    """``content`` is null when the answer is calls only. Both names of the reasoning are in use."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    reasoning: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: tuple[AnswerCall, ...] | msgspec.UnsetType = msgspec.UNSET
    function_call: Function | msgspec.UnsetType = msgspec.UNSET


class Choice(msgspec.Struct, frozen=True):
    message: AnswerMessage
    finish_reason: str
    index: int = 0
    logprobs: ChoiceLogprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The answer of POST /v1/chat/completions that is not streamed."""

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: CompletionUsage
    system_fingerprint: str
    object: Literal["chat.completion"] = "chat.completion"
    service_tier: Literal["default"] = "default"
    timings: ServerTimings | msgspec.UnsetType = msgspec.UNSET


class LegacyLogprobs(msgspec.Struct, frozen=True):
    """Of plain completions: parallel lists, one entry for each token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(msgspec.Struct, frozen=True):
    text: str
    index: int
    logprobs: LegacyLogprobs | None
    finish_reason: str | None


class TextCompletion(msgspec.Struct, frozen=True):
    """The answer of POST /v1/completions, and without ``usage`` a chunk of it."""

    id: str
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    system_fingerprint: str
    object: Literal["text_completion"] = "text_completion"
    usage: CompletionUsage | msgspec.UnsetType | None = msgspec.UNSET
    timings: ServerTimings | msgspec.UnsetType = msgspec.UNSET


class InputTokens(msgspec.Struct, frozen=True):
    """How many tokens the prompt of a request has."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"


class ModelEntry(msgspec.Struct, frozen=True, rename={
    "max_input_tokens": "maxInputTokens",
    "max_output_tokens": "maxOutputTokens",
    "tool_calling": "toolCalling",
    "engine_reason": "engineReason",
    "kv_cache": "kvCache",
    "kept_bytes": "keptBytes",
    "load_error": "loadError",
}):  # fmt: skip
    """A model as GET /v1/models shows it: OpenAI's fields, Foundry Local's and Anthropic's."""

    id: str
    created: int
    owned_by: str
    parent: str  # the alias
    max_input_tokens: int
    max_output_tokens: int
    context_length: int
    loaded: bool
    display_name: str
    created_at: str  # as RFC 3339 has it
    tool_calling: bool = False
    vision: bool = False
    engine: str | msgspec.UnsetType = msgspec.UNSET  # that runs it; known once it is loaded
    engine_reason: str | msgspec.UnsetType = msgspec.UNSET  # why it is not the batching one
    kv_cache: str | msgspec.UnsetType = msgspec.UNSET  # type of its keys and values
    kept_bytes: int | msgspec.UnsetType = msgspec.UNSET  # keys and values of earlier prompts
    load_error: str | msgspec.UnsetType = msgspec.UNSET  # why it is not loaded for a while
    # Whether the same request can have the same answer, to the bit; known once it is loaded.
    reproducible: bool | msgspec.UnsetType = msgspec.UNSET
    quality: Quality | msgspec.UnsetType = msgspec.UNSET  # what was measured when it was imported
    object: Literal["model"] = "model"
    type: Literal["model"] = "model"


class ModelList(msgspec.Struct, frozen=True):
    """All of them are on the first page."""

    data: tuple[ModelEntry, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool = False
    object: Literal["list"] = "list"


class Embedding(msgspec.Struct, frozen=True):
    embedding: str | Numbers
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True):
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"
