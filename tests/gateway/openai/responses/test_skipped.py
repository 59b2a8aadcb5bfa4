"""Tools and items of OpenAI's own service, which agents send by default: skipped, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Submit
from tests.gateway.running_gateway import MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {"model": MODEL, "input": "Hello!"}
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
PATCH = {"type": "custom", "name": "apply_patch"}
SERVICE_TOOLS: list[dict[str, Any]] = [
    {"type": "web_search"},
    {"type": "web_search_preview", "search_context_size": "low"},
    {"type": "web_search_2025_08_26", "filters": {"allowed_domains": ["example.com"]}},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "computer"},
    {"type": "computer_use_preview", "display_width": 1, "display_height": 1},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation", "output_format": "png"},
    {"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"},
    {"type": "local_shell"},
    {"type": "shell", "environment": {"type": "local"}},
    {"type": "apply_patch"},
    {"type": "tool_search"},
    {"type": "namespace", "name": "mcp__docs", "description": "", "tools": [WEATHER]},
    {"type": "programmatic_tool_calling"},
    {"type": "of_next_year", "name": 5, "function": "?", "parameters": "?"},
]
SERVICE_ITEMS: list[dict[str, Any]] = [
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
    {"type": "file_search_call", "id": "fs_1", "queries": ["q"], "results": None},
    {"type": "computer_call", "id": "cu_1", "call_id": "c", "action": {"type": "wait"}},
    {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}},
    {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "outputs": []},
    {"type": "image_generation_call", "id": "ig_1", "result": None},
    {"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}", "server_label": "docs"},
    {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "docs", "tools": []},
    {"type": "mcp_approval_request", "id": "mcpr_1", "name": "f", "arguments": "{}"},
    {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    {"type": "tool_search_call", "arguments": {}},
    {"type": "additional_tools", "tools": [], "role": "developer"},
    {"type": "compaction", "encrypted_content": "gAAAA"},
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
    {"type": "of_next_year", "content": 5},
]


@pytest.fixture(autouse=True)
def _takes_tools(home: Path) -> None:
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text("{{ tools }}<tool_call>", "utf-8")


def create(gateway: RunningGateway, **fields: Any) -> Response:
    with gateway.openai() as client:
        made: Response = client.responses.create(**ASK | fields)
    return made


@pytest.mark.parametrize("tool", SERVICE_TOOLS, ids=lambda tool: str(tool["type"]))
def test_tools(gateway: RunningGateway, scheduler: ScriptedScheduler, tool: dict[str, Any]) -> None:
    made = create(gateway, tools=[tool, WEATHER, PATCH], metadata={"mine": "kept"})
    assert made.metadata == {"mine": "kept", "skipped_tools": tool["type"]}
    prompt = work_of(scheduler.next(Submit)).prompt
    assert [tool["function"]["name"] for tool in prompt.tools] == ["get_weather", "apply_patch"]
    assert [tool.type for tool in made.tools] == ["function", "custom"]


def test_all_together(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    made = create(gateway, tools=SERVICE_TOOLS + SERVICE_TOOLS)
    assert made.metadata is not None
    assert made.metadata["skipped_tools"] == ", ".join(tool["type"] for tool in SERVICE_TOOLS)
    assert work_of(scheduler.next(Submit)).prompt.tools == ()


def test_metadata_has_its_limit(gateway: RunningGateway) -> None:
    made = create(gateway, tools=[{"type": f"{n:0>100}"} for n in range(20)])
    assert made.metadata is not None
    assert len(made.metadata["skipped_tools"]) == 512


def test_nothing_is_said_where_nothing_was_skipped(gateway: RunningGateway) -> None:
    assert create(gateway, tools=[WEATHER]).metadata == {}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "web_search"},
        {"type": "file_search"},
        {"type": "mcp", "server_label": "docs"},
        {"type": "image_generation"},
        {"type": "apply_patch"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
    ],
    ids=str,
)
def test_forced(gateway: RunningGateway, choice: dict[str, Any]) -> None:
    """The error names the tool, and says what can be chosen."""
    with gateway.http() as http:
        fields = {"tools": [*SERVICE_TOOLS, WEATHER], "tool_choice": choice}
        answer = http.post("/v1/responses", json=ASK | fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == "tool_choice.type"
    named = choice["tools"][0]["type"] if "tools" in choice else choice["type"]
    assert named in error["message"] and "function" in error["message"]


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_without_the_skipped(
    gateway: RunningGateway, scheduler: ScriptedScheduler, mode: str
) -> None:
    allowed = [{"type": "web_search"}, {"type": "function", "name": "get_weather"}]
    choice = {"type": "allowed_tools", "mode": mode, "tools": allowed}
    create(gateway, tools=[*SERVICE_TOOLS, WEATHER], tool_choice=choice)
    work = work_of(scheduler.next(Submit))
    assert [tool["function"]["name"] for tool in work.prompt.tools] == ["get_weather"]
    assert (work.constraint is not None) == (mode == "required")


def test_only_skipped_tools_are_allowed(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}
    create(gateway, tools=[*SERVICE_TOOLS, WEATHER], tool_choice=choice)
    assert work_of(scheduler.next(Submit)).prompt.tools == ()


@pytest.mark.parametrize("item", SERVICE_ITEMS, ids=lambda item: str(item["type"]))
def test_items(gateway: RunningGateway, scheduler: ScriptedScheduler, item: dict[str, Any]) -> None:
    made = create(gateway, input=[item, {"role": "user", "content": "Hello!"}])
    assert made.metadata == {"skipped_items": item["type"]}
    messages = work_of(scheduler.next(Submit)).prompt.messages
    assert messages == ({"role": "user", "content": "Hello!"},)
    with gateway.openai() as client:  # it is stored, and can be continued
        listed = client.responses.input_items.list(made.id, order="asc").data
        assert [one.type for one in listed] == [item["type"], "message"]
        client.responses.create(model=MODEL, input="And?", previous_response_id=made.id)
    assert len(work_of(scheduler.next(Submit)).prompt.messages) == 3


BUILT_IN: list[tuple[list[dict[str, Any]], str, dict[str, Any], str]] = [
    (
        [
            {"type": "local_shell_call", "call_id": "c1", "status": "completed",
             "action": {"type": "exec", "command": ["ls"]}},
            {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        ],
        "local_shell", {"type": "exec", "command": ["ls"]}, "a.txt",
    ),
    (
        [
            {"type": "local_shell_call", "id": "lsh_1", "call_id": None,
             "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "lsh_1", "output": "a.txt"},
        ],
        "local_shell", {"type": "exec", "command": ["ls"]}, "a.txt",
    ),
    (
        [
            {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a.txt"}]},
        ],
        "shell", {"commands": ["ls"]}, '[{"stdout": "a.txt"}]',
    ),
    (
        [
            {"type": "apply_patch_call", "call_id": "c1", "status": "completed",
             "operation": {"type": "delete_file", "path": "a"}},
            {"type": "apply_patch_call_output", "call_id": "c1", "status": "completed"},
        ],
        "apply_patch", {"type": "delete_file", "path": "a"}, "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("items", "name", "arguments", "output"), BUILT_IN)
def test_calls_that_the_app_has_run_are_read(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    items: list[dict[str, Any]],
    name: str,
    arguments: dict[str, Any],
    output: str,
) -> None:
    made = create(gateway, input=items)
    assert made.metadata == {}
    call, result = work_of(scheduler.next(Submit)).prompt.messages
    [called] = call["tool_calls"]
    assert called["function"] == {"name": name, "arguments": arguments}
    assert (result["content"], result["tool_call_id"]) == (output, called["id"])
