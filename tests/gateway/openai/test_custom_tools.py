"""Custom tools in chats: their calls are texts, streamed and not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from tests.gateway.running_gateway import HELLO, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

PYTHON: dict[str, Any] = {"type": "custom", "custom": {"name": "python", "description": "Runs."}}
WEATHER = {"type": "function", "function": {"name": "get_weather"}}
CODE = 'print("é")\n'
CALL = '<tool_call>{"name": "python", "arguments": {"input": "print(\\"é\\")\\n"}}</tool_call>'
OTHER = '<tool_call>{"name": "get_weather", "arguments": {"input": "x"}}</tool_call>'
Say = Callable[..., None]


@pytest.fixture(autouse=True)
def _takes_tools(home: Path) -> None:
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text("{{ tools }}<tool_call>", "utf-8")


@pytest.fixture
def say(scheduler: ScriptedScheduler) -> Say:
    def set_answer(answer: str) -> None:
        def script(request: Any) -> Iterable[Any]:
            if isinstance(request, Submit):
                for piece in answer:
                    yield Outputs((Output(request.request_id, piece, made=1),))
                end = FinishReason.STOP
                yield Outputs((Output(request.request_id, "", end, Usage(5, 8)),))

        scheduler.script = script

    return set_answer


def create(gateway: RunningGateway, **fields: Any) -> ChatCompletion:
    with gateway.openai() as client:
        made: ChatCompletion = client.chat.completions.create(**HELLO | fields)
    return made


def calls_of(made: ChatCompletion) -> list[Any]:
    return list(made.choices[0].message.tool_calls or ())


def test_whole(gateway: RunningGateway, say: Say) -> None:
    say(CALL + OTHER)
    made = create(gateway, tools=[PYTHON, WEATHER])
    [choice] = made.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    first, second = calls_of(made)
    assert first.type == "custom"
    assert (first.custom.name, first.custom.input) == ("python", CODE)
    assert second.type == "function" and second.function.arguments == '{"input": "x"}'
    assert set(first.to_dict()) == {"id", "type", "custom"}
    assert set(second.to_dict()) == {"id", "type", "function"}


def test_streamed(gateway: RunningGateway, say: Say) -> None:
    say(CALL + OTHER)
    with gateway.openai() as client:
        stream: Any = client.chat.completions.create(
            **HELLO | {"tools": [PYTHON, WEATHER], "stream": True}
        )
        chunks = [chunk.choices[0].to_dict() for chunk in stream]
    pieces = [p for chunk in chunks for p in chunk["delta"].get("tool_calls", ())]
    custom = [piece for piece in pieces if piece["index"] == 0]
    assert custom[0]["type"] == "custom" and custom[0]["id"].startswith("call_")
    assert custom[0]["custom"] == {"name": "python", "input": ""}
    assert "".join(piece["custom"]["input"] for piece in custom) == CODE
    assert len(custom) > 5 and not any("function" in piece for piece in custom)
    function = [piece["function"] for piece in pieces if piece["index"] == 1]
    assert "".join(piece["arguments"] for piece in function) == '{"input": "x"}'
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_history(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say(CALL)
    made = create(gateway, tools=[PYTHON])
    [call] = calls_of(made)
    message = made.choices[0].message
    result = {"role": "tool", "tool_call_id": call.id, "content": "é"}
    create(gateway, messages=[*HELLO["messages"], message.to_dict(), result])
    scheduler.next(Submit)
    _, called, told = work_of(scheduler.next(Submit)).prompt.messages
    assert called["tool_calls"] == [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": "python", "arguments": {"input": CODE}},
        }
    ]
    assert told["content"] == "é"


@pytest.mark.parametrize(
    ("syntax", "kind"), [("lark", ConstraintKind.LARK), ("regex", ConstraintKind.REGEX)]
)
@pytest.mark.parametrize(
    "choice",
    [
        {"type": "custom", "custom": {"name": "python"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "custom", "custom": {"name": "python"}}],
            },
        },
    ],
    ids=["named", "allowed"],
)
def test_a_grammar_is_that_of_a_forced_call(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    say: Say,
    syntax: str,
    kind: ConstraintKind,
    choice: Any,
) -> None:
    say(CODE)
    form = {"type": "grammar", "grammar": {"syntax": syntax, "definition": "start: /x/"}}
    tool = {"type": "custom", "custom": {"name": "python", "format": form}}
    made = create(gateway, tools=[tool, WEATHER], tool_choice=choice)
    [call] = calls_of(made)
    assert call.type == "custom" and call.custom.input == CODE
    assert work_of(scheduler.next(Submit)).constraint == Constraint(kind, "start: /x/")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom.name"),
        ({"tools": [PYTHON], "tool_choice": {"type": "custom"}}, "tool_choice.custom"),
        (
            {"tools": [PYTHON], "tool_choice": {"type": "custom", "custom": {"name": "fly"}}},
            "tool_choice",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]},
            "messages[0].tool_calls[0].custom",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
            "messages[0].tool_calls[0].function",
        ),
    ],
)
def test_what_is_wrong_is_named(gateway: RunningGateway, fields: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(gateway, **fields)
    assert refused.value.param == param
