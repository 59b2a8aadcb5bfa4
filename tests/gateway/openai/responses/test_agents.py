"""What coding agents send to POST /v1/responses, in the shapes that were recorded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from tests.gateway.running_gateway import MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

zstd: Any = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
LARK = """start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?
hunk: "*** Delete File: " /(.+)/ LF
%import common.LF
"""
CODEX: dict[str, Any] = {
    "model": MODEL,
    "instructions": "You are a coding agent.",
    "input": [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "<permissions>none</permissions>"}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Delete a.txt."}],
        },
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Look first."}],
            "content": None,
            "encrypted_content": None,
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo"},
        {
            "type": "local_shell_call",
            "call_id": "call_1",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "timeout_ms": None, "env": None},
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "a.txt"},
        {
            "type": "web_search_call",
            "status": "completed",
            "action": {"type": "search", "query": "how to delete"},
        },
        {
            "type": "function_call",
            "name": "shell",
            "arguments": '{"command": ["cat", "a.txt"]}',
            "call_id": "call_2",
        },
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_text", "text": "empty"}],
        },
        {
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_3",
            "name": "apply_patch",
            "input": "*** Begin Patch",
        },
        {"type": "custom_tool_call_output", "call_id": "call_3", "output": "invalid patch"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command.",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                "required": ["command"],
                "additionalProperties": False,
            },
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Edits files. This is a FREEFORM tool.",
            "format": {"type": "grammar", "syntax": "lark", "definition": LARK},
        },
        {"type": "web_search", "external_web_access": False},
        {"type": "image_generation", "output_format": "png"},
        {"type": "namespace", "name": "mcp__docs", "description": "Docs.", "tools": []},
        {"type": "local_shell"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "service_tier": "priority",
    "prompt_cache_key": "0199-session",
    "text": {"verbosity": "low"},
    "client_metadata": {"x-codex-installation-id": "1"},
}
PATCH = "*** Begin Patch\\n*** Delete File: a.txt\\n*** End Patch"
ANSWER = f'<tool_call>{{"name": "apply_patch", "arguments": {{"input": "{PATCH}"}}}}</tool_call>'


@pytest.fixture(autouse=True)
def _takes_tools(home: Path) -> None:
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text("{{ tools }}<tool_call>", "utf-8")


def answer(request: Any) -> Iterable[Any]:
    if isinstance(request, Submit):
        for at in range(0, len(ANSWER), 7):
            yield Outputs((Output(request.request_id, ANSWER[at : at + 7], made=2),))
        yield Outputs((Output(request.request_id, "", FinishReason.STOP, Usage(300, 30)),))


def test_codex(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    scheduler.script = answer
    body = zstd.compress(msgspec.json.encode(CODEX))
    headers = {"content-type": "application/json", "content-encoding": "zstd"}
    with gateway.http() as http:
        streamed = http.post("/v1/responses", content=body, headers=headers)
    assert streamed.status_code == 200, streamed.text
    frames = [frame for frame in streamed.text.split("\n\n") if frame.startswith("event: ")]
    events = [msgspec.json.decode(frame.partition("\ndata: ")[2]) for frame in frames]
    [added, done] = [e for e in events if e["type"].startswith("response.output_item")]
    assert (added["item"]["type"], added["item"]["name"]) == ("custom_tool_call", "apply_patch")
    assert done["item"]["input"] == PATCH.replace("\\n", "\n")
    ended = events[-1]["response"]
    assert (ended["status"], ended["store"]) == ("completed", False)
    assert ended["metadata"] == {
        "skipped_tools": "web_search, image_generation, namespace, local_shell",
        "skipped_items": "reasoning, web_search_call",
    }
    assert ended["prompt_cache_key"] == "0199-session"

    prompt = work_of(scheduler.next(Submit)).prompt
    assert [tool["function"]["name"] for tool in prompt.tools] == ["shell", "apply_patch"]
    called = [
        (call["function"]["name"], call["function"]["arguments"])
        for message in prompt.messages
        for call in message.get("tool_calls", ())
    ]
    assert called == [
        ("local_shell", CODEX["input"][4]["action"]),
        ("shell", {"command": ["cat", "a.txt"]}),
        ("apply_patch", {"input": "*** Begin Patch"}),
    ]
    results = [m["content"] for m in prompt.messages if m["role"] == "tool"]
    assert results == ["a.txt", "empty", "invalid patch"]


@pytest.mark.parametrize("summary", ["auto", "concise", "detailed", "none", None])
def test_any_summary_of_the_reasoning_may_be_wanted(gateway: RunningGateway, summary: Any) -> None:
    with gateway.http() as http:
        fields = {"stream": False, "reasoning": {"effort": "high", "summary": summary}}
        made = http.post("/v1/responses", json=CODEX | fields)
    assert made.status_code == 200
    assert made.json()["reasoning"] == {"effort": "high", "summary": summary}
