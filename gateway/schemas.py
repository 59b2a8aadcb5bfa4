"""The bodies of the HTTP API: requests as pydantic models, answers as msgspec structs.

OpenAI's names and shapes. A known parameter whose value asks for something that is not supported is
refused by name; an unknown field is accepted. Clients import this module: it needs no server parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

# -- errors of validation: their type becomes the error's code -------------------------------------

UNSUPPORTED = "unsupported_parameter"
INVALID = "invalid_value"


def unsupported(param: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(UNSUPPORTED, "{message}", {"message": message, "param": param})


def invalid(message: str, param: str | None = None) -> PydanticCustomError:
    return PydanticCustomError(INVALID, "{message}", {"message": message, "param": param})


# -- requests --------------------------------------------------------------------------------------


class Body(BaseModel):
    """Base of request bodies: types are exact (true is no number, "1" is no number)."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


def join_parts(content: Any) -> Any:
    """Content as one string: a list of text parts is joined, other kinds of parts are refused."""
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(kind) if kind in ("text", "refusal") else None
        if isinstance(text, str):
            texts.append(text)
        elif isinstance(kind, str) and kind != "text":
            raise PydanticCustomError(
                UNSUPPORTED,
                "Content of type '{kind}' cannot be read by this model: send text only",
                {"kind": kind},
            )
        else:
            raise invalid("A part of the content must be {'type': 'text', 'text': '...'}")
    return "".join(texts)


Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class Message(Body):
    role: Role
    content: Annotated[str | None, BeforeValidator(join_parts)] = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise invalid(f"A message of role '{self.role}' needs content", "content")
        return self

    def for_template(self) -> dict[str, Any]:
        """The message as a chat template reads it."""
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content or ""}
        for field in ("name", "tool_calls", "tool_call_id"):
            if value := getattr(self, field):
                message[field] = value
        return message


class StreamOptions(Body):
    include_usage: bool | None = None


def as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


MAX_INT = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
TopK = Annotated[int, Field(ge=0, le=MAX_INT)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Stop = Annotated[
    list[Annotated[str, StringConstraints(min_length=1)]],
    Field(max_length=16),
    BeforeValidator(as_list),
]


def check_ttl(ttl: float) -> float:
    if ttl < 0 and ttl != -1:
        raise invalid("ttl is a number of seconds, 0 = unload at once, -1 = keep for ever")
    return ttl


class Metadata(Body):
    """Free strings, two of which Foundry Local's SDKs use for parameters that OpenAI lacks."""

    top_k: Annotated[TopK | None, Field(strict=False)] = None
    random_seed: Annotated[Seed | None, Field(strict=False)] = None


class ChatRequest(Body):
    """The body of POST /v1/chat/completions."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: TopK | None = None
    seed: Seed | None = None
    random_seed: Seed | None = None
    stop: Stop | None = None
    ignore_eos: bool | None = None
    user: str | None = None
    metadata: Metadata | None = None
    ttl: Annotated[float, AfterValidator(check_ttl)] | None = None
    # Known, and refused where their value asks for something: see REFUSED.
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _refuse(self) -> ChatRequest:
        for param, asks, hint in REFUSED:
            value = getattr(self, param)
            if value is not None and asks(value):
                raise unsupported(param, f"'{param}' is not supported here yet: {hint}")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def effective_top_k(self) -> int:
        given = (self.top_k, self.metadata.top_k if self.metadata else None)
        return next((value for value in given if value is not None), 0)

    @property
    def effective_seed(self) -> int | None:
        in_metadata = self.metadata.random_seed if self.metadata else None
        given = (self.seed, self.random_seed, in_metadata)
        return next((value for value in given if value is not None), None)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


Asks = Callable[[Any], bool]

REFUSED: tuple[tuple[str, Asks, str], ...] = (
    ("n", lambda n: n > 1, "send one request for each answer"),
    ("tools", bool, "send the request without tools"),
    ("tool_choice", lambda choice: choice not in ("none", "auto"), "use 'none' or 'auto'"),
    ("functions", bool, "send the request without functions"),
    ("function_call", lambda choice: choice not in ("none", "auto"), "use 'none' or 'auto'"),
    ("logprobs", bool, "leave it out or send false"),
    ("top_logprobs", bool, "leave it out or send 0"),
    ("frequency_penalty", bool, "leave it out or send 0"),
    ("presence_penalty", bool, "leave it out or send 0"),
    ("logit_bias", bool, "leave it out or send {}"),
    ("response_format", lambda wanted: wanted.get("type") != "text", "use {'type': 'text'}"),
    ("modalities", lambda wanted: set(wanted) - {"text"} != set(), "use ['text']"),
    ("audio", bool, "leave it out"),
)

# -- answers ---------------------------------------------------------------------------------------


class PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class CompletionUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class AnswerMessage(msgspec.Struct, frozen=True):
    content: str
    role: str = "assistant"
    refusal: None = None


class Choice(msgspec.Struct, frozen=True):
    message: AnswerMessage
    finish_reason: str
    index: int = 0
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The answer of POST /v1/chat/completions that is not streamed."""

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: CompletionUsage | None
    system_fingerprint: str
    object: Literal["chat.completion"] = "chat.completion"


class ModelEntry(msgspec.Struct, frozen=True, rename={
    "max_input_tokens": "maxInputTokens",
    "max_output_tokens": "maxOutputTokens",
    "tool_calling": "toolCalling",
}):  # fmt: skip
    """A model as GET /v1/models shows it: OpenAI's fields and those of Foundry Local."""

    id: str
    created: int
    owned_by: str
    parent: str  # the alias
    max_input_tokens: int
    max_output_tokens: int
    context_length: int
    loaded: bool
    tool_calling: bool = False
    vision: bool = False
    object: Literal["model"] = "model"


class ModelList(msgspec.Struct, frozen=True):
    data: tuple[ModelEntry, ...]
    object: Literal["list"] = "list"
