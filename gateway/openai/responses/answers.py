"""The answers of the Responses API, for its description: ``record`` and ``items`` make them."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from cupola.gateway.openai.schemas.answers import ContentLogprob

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class OutputPart(TypedDict):
    type: Literal["output_text", "reasoning_text"]
    text: str
    annotations: NotRequired[list[Any]]
    logprobs: NotRequired[list[ContentLogprob]]


class OutputItem(TypedDict):
    """A message, a function_call, or the reasoning before them."""

    type: Literal["message", "function_call", "reasoning"]
    id: str
    status: Status
    role: NotRequired[Literal["assistant"]]
    content: NotRequired[list[OutputPart]]
    summary: NotRequired[list[Any]]
    call_id: NotRequired[str]
    name: NotRequired[str]
    arguments: NotRequired[str]


class InputTokensDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    reasoning_tokens: int


class ResponseUsage(TypedDict):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(TypedDict):
    code: Literal["invalid_prompt", "server_error"]
    message: str


class IncompleteDetails(TypedDict):
    reason: Literal["max_output_tokens"]


class ResponseObject(TypedDict):
    """A response. Further parameters of its request are told as they were given."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Status
    background: bool
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputItem]
    output_text: str
    usage: ResponseUsage | None
    instructions: str | None
    previous_response_id: str | None
    metadata: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: Any
    parallel_tool_calls: bool
    service_tier: Literal["default"]
    store: bool


class ResponsePage(TypedDict):
    object: Literal["list"]
    data: list[ResponseObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputItemPage(TypedDict):
    """The input of a response: items as they were sent, each with an id."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(TypedDict):
    id: str
    object: Literal["response.deleted"]
    deleted: Literal[True]
