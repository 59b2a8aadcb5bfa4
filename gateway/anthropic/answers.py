"""The answers of Anthropic's API, for its description: ``anthropic_frames`` makes them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AnthropicErrorBody(TypedDict):
    type: str
    message: str
    code: str | None  # beside Anthropic's own fields
    param: str | None


class AnthropicErrorAnswer(TypedDict):
    type: Literal["error"]
    error: AnthropicErrorBody
    request_id: str | None


class ContentBlock(TypedDict):
    """Text, thinking, or the use of a tool."""

    type: Literal["text", "thinking", "tool_use"]
    text: NotRequired[str]
    thinking: NotRequired[str]
    signature: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]
    input: NotRequired[dict[str, Any]]


class AnthropicUsage(TypedDict):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class AnthropicAnswer(TypedDict):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason
    stop_sequence: str | None
    usage: AnthropicUsage


class TokenCount(TypedDict):
    input_tokens: int
