"""The response object: what a client is told of one response, from its creation to its end. Pure.

A record is a JSON object, because it is stored and sent as it is. Parameters are echoed as given.
"""

from __future__ import annotations

import secrets
from typing import Any

from cupola.gateway.core.events import UsageTotal
from cupola.gateway.http.errors import BAD_REQUEST, ApiError
from cupola.gateway.openai.schemas.response_tools import ResponseTool
from cupola.gateway.openai.schemas.responses import ResponsesRequest

Record = dict[str, Any]
UNFINISHED = ("queued", "in_progress")
_ECHOED: dict[str, Any] = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def new_record(
    asked: ResponsesRequest, body: dict[str, Any], model: str, now: int, *, stored: bool
) -> Record:
    """``body``: the request as it came; ``model``: the id of the variant that answers."""
    given = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    text = body.get("text") or {}
    reasoning = body.get("reasoning") or {}
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": now,
        "completed_at": None,
        "status": "queued" if asked.background else "in_progress",
        "background": bool(asked.background),
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "output_text": "",  # as Foundry Local has it
        "usage": None,
        **_ECHOED,
        **given,
        "tools": [_tool(tool) for tool in asked.tools or ()],
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": stored,
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
    }


def _tool(tool: ResponseTool) -> dict[str, Any]:
    function = tool.definition()
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
        "strict": bool(function.strict),
    }


def finish(record: Record, reason: str, usage: UsageTotal, now: int) -> None:
    """``reason``: why the answer ended, in the words of ``events.Finished``."""
    cut = reason == "length"
    record["status"] = "incomplete" if cut else "completed"
    record["completed_at"] = None if cut else now
    record["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
    record["output_text"] = output_text(record)
    record["usage"] = usage_of(usage)


def fail(record: Record, error: ApiError) -> None:
    record["status"] = "failed"
    code = "invalid_prompt" if error.kind == BAD_REQUEST else "server_error"
    record["error"] = {"code": code, "message": error.message}


def output_text(record: Record) -> str:
    contents = [item["content"] for item in record["output"] if item["type"] == "message"]
    return "".join(part["text"] for content in contents for part in content)


def usage_of(total: UsageTotal) -> dict[str, Any]:
    usage = total.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": total.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
