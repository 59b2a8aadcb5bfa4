"""What happens to a response's record: its creation, its end, its failure. Pure.

A record is a ``ResponseObject``. It is stored and sent as it is.
"""

from __future__ import annotations

import secrets
from typing import Any

from cupola.gateway.core.events import Reason, UsageTotal
from cupola.gateway.http.errors import BAD_REQUEST, ApiError
from cupola.gateway.openai.responses.answers import (
    IncompleteDetails,
    InputTokensDetails,
    OutputMessage,
    OutputTokensDetails,
    ResponseCustom,
    ResponseError,
    ResponseFunction,
    ResponseObject,
    ResponseReasoning,
    ResponseText,
    ResponseUsage,
)
from cupola.gateway.openai.responses.body.items import skipped_items
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.gateway.openai.responses.body.tools import OwnTool, ResponseCustomTool, own

# Parameters that a response repeats as they came.
_ECHOED = (
    "frequency_penalty", "instructions", "max_output_tokens", "metadata", "parallel_tool_calls",
    "presence_penalty", "previous_response_id", "prompt_cache_key", "safety_identifier",
    "temperature", "tool_choice", "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip

# Keys of a response's metadata: the types of tools and items that the model is not told of.
SKIPPED_TOOLS, SKIPPED_ITEMS = "skipped_tools", "skipped_items"
MAX_METADATA = 512  # characters of a value, as OpenAI has it


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def new_record(
    body: ResponsesRequest, given: dict[str, Any], model: str, now: int, *, stored: bool
) -> ResponseObject:
    """``given``: the body as it came. ``model``: the id of the variant that answers."""
    text = given.get("text") or {}
    reasoning = given.get("reasoning") or {}
    return ResponseObject(
        id=new_id("resp"),
        created_at=now,
        status="queued" if body.background else "in_progress",
        background=bool(body.background),
        model=model,
        tools=[_tool(tool) for tool in own(body.tools or [])],
        reasoning=ResponseReasoning(reasoning.get("effort"), reasoning.get("summary")),
        store=stored,
        text=ResponseText(
            text.get("format") or {"type": "text"}, text.get("verbosity") or "medium"
        ),
        **_echoed(body, given),
    )


def _echoed(body: ResponsesRequest, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters as they came. The metadata also names what was skipped."""
    echoed = {name: given[name] for name in _ECHOED if given.get(name) is not None}
    skipped = {SKIPPED_TOOLS: body.skipped_tools, SKIPPED_ITEMS: skipped_items(body.input)}
    names = {key: ", ".join(types)[:MAX_METADATA] for key, types in skipped.items() if types}
    return echoed | {"metadata": echoed.get("metadata", {}) | names} if names else echoed


def _tool(tool: OwnTool) -> ResponseFunction | ResponseCustom:
    if isinstance(tool, ResponseCustomTool):
        shown: dict[str, Any] = {"type": "text"}
        if tool.format is not None:
            shown = tool.format.model_dump(exclude_none=True)
        return ResponseCustom(tool.name, tool.description, shown)
    function = tool.definition()
    return ResponseFunction(
        function.name,
        function.description,
        function.parameters,
        bool(function.strict),
    )


def finish(record: ResponseObject, reason: Reason, usage: UsageTotal, now: int) -> None:
    """``reason``: why the answer ended, see ``events.Finished``."""
    cut = reason == "length"
    record.status = "incomplete" if cut else "completed"
    record.completed_at = None if cut else now
    record.incomplete_details = IncompleteDetails() if cut else None
    record.output_text = output_text(record)
    record.usage = usage_of(usage)


def fail(record: ResponseObject, error: ApiError) -> None:
    record.status = "failed"
    blamed = error.kind == BAD_REQUEST
    record.error = ResponseError("invalid_prompt" if blamed else "server_error", error.message)


def output_text(record: ResponseObject) -> str:
    contents = [item.content for item in record.output if isinstance(item, OutputMessage)]
    return "".join(part.text for content in contents for part in content)


def usage_of(total: UsageTotal) -> ResponseUsage:
    usage = total.usage
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(total.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )
