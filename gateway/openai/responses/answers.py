"""The answers of the Responses API. A response is stored in the same form."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cupola.gateway.openai.answers import ContentLogprob

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    text: str = ""
    annotations: list[Any] = []
    logprobs: list[ContentLogprob] = []


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str = ""


class OutputMessage(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    content: list[OutputText] = []
    role: Literal["assistant"] = "assistant"
    status: ItemStatus = "in_progress"


class OutputReasoning(msgspec.Struct, tag_field="type", tag="reasoning"):
    id: str
    content: list[ReasoningText] = []
    summary: list[Any] = []
    status: ItemStatus = "in_progress"


class OutputCall(msgspec.Struct, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str = ""
    status: ItemStatus = "in_progress"


class OutputCustomCall(msgspec.Struct, tag_field="type", tag="custom_tool_call"):
    id: str
    call_id: str
    name: str
    input: str = ""
    status: ItemStatus = "in_progress"


OutputItem = OutputMessage | OutputReasoning | OutputCall | OutputCustomCall


class InputTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(msgspec.Struct, frozen=True):
    code: Literal["invalid_prompt", "server_error"]
    message: str


class IncompleteDetails(msgspec.Struct, frozen=True):
    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseFunction(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool


class ResponseCustom(msgspec.Struct, frozen=True, tag_field="type", tag="custom"):
    name: str
    description: str | None
    format: dict[str, Any]


class ResponseReasoning(msgspec.Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None


class ResponseText(msgspec.Struct, frozen=True):
    format: dict[str, Any]
    verbosity: str


class ResponseObject(msgspec.Struct, kw_only=True):
    """A response, from its creation to its end. Parameters of its request are as they came."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    background: bool = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    output: list[OutputItem] = []
    output_text: str = ""  # as Foundry Local has it
    usage: ResponseUsage | None = None
    frequency_penalty: float = 0.0
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, Any] = {}
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    temperature: float | None = None
    tool_choice: Any = "auto"
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: str = "disabled"
    user: str | None = None
    tools: list[ResponseFunction | ResponseCustom] = []
    reasoning: ResponseReasoning = ResponseReasoning()
    service_tier: Literal["default"] = "default"
    store: bool
    text: ResponseText

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "in_progress")


class ResponsePage(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[ResponseObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a response: items as they were sent, each with an id."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedResponse(msgspec.Struct, frozen=True):
    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: Literal[True] = True
