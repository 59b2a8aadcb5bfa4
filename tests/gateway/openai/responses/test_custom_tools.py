"""Custom tools on /v1/responses: they take and give texts, streamed and not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseCustomToolCall

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from tests.gateway.running_gateway import MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler, work_of

pytestmark = pytest.mark.slow

ASK: dict[str, Any] = {"model": MODEL, "input": "Delete a.txt."}
PATCH_TEXT = '*** Begin Patch\n*** Delete File: a.txt\n+ "é" \\ 🦀\n*** End Patch'
LARK = 'start: "*** Begin Patch" /(.|\\n)*/'
PATCH: dict[str, Any] = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
CALL = (
    'Now.<tool_call>{"name": "apply_patch", "arguments": {"input": "*** Begin Patch\\n'
    '*** Delete File: a.txt\\n+ \\"\\u00e9\\" \\\\ \\ud83e\\udd80\\n*** End Patch"}}</tool_call>'
)
Say = Callable[..., None]


@pytest.fixture(autouse=True)
def _takes_tools(home: Path) -> None:
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text("{{ tools }}<tool_call>", "utf-8")


@pytest.fixture
def say(scheduler: ScriptedScheduler) -> Say:
    """Sets what the model answers, in pieces of one character."""

    def set_answer(answer: str, reason: FinishReason = FinishReason.STOP) -> None:
        def script(request: Any) -> Iterable[Any]:
            if isinstance(request, Submit):
                for piece in answer:
                    yield Outputs((Output(request.request_id, piece, made=1),))
                yield Outputs((Output(request.request_id, "", reason, Usage(5, 8)),))

        scheduler.script = script

    return set_answer


def create(gateway: RunningGateway, **fields: Any) -> Response:
    with gateway.openai() as client:
        made: Response = client.responses.create(**ASK | fields)
    return made


def stream(gateway: RunningGateway, **fields: Any) -> list[Any]:
    with gateway.openai() as client:
        return list(client.responses.create(**ASK | {"stream": True} | fields))


def test_whole(gateway: RunningGateway, say: Say) -> None:
    say(CALL)
    made = create(gateway, tools=[PATCH, WEATHER])
    message, call = made.output
    assert message.type == "message"
    assert isinstance(call, ResponseCustomToolCall)
    assert (call.name, call.input) == ("apply_patch", PATCH_TEXT)
    assert call.call_id.startswith("call_") and call.id is not None
    assert [tool.type for tool in made.tools] == ["custom", "function"]


def test_streamed(gateway: RunningGateway, say: Say) -> None:
    say(CALL)
    events = stream(gateway, tools=[PATCH])
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [e.delta for e in events if e.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == PATCH_TEXT and len(deltas) > 30
    [done] = [e for e in events if e.type == "response.custom_tool_call_input.done"]
    assert done.input == PATCH_TEXT
    [added, ended] = [
        e.item
        for e in events
        if e.type in ("response.output_item.added", "response.output_item.done")
        and e.item.type == "custom_tool_call"
    ]
    assert (added.input, ended.input) == ("", PATCH_TEXT)
    assert done.item_id == added.id == ended.id
    assert events[-1].type == "response.completed"
    assert events[-1].response.output[1] == ended
    assert "response.function_call_arguments.delta" not in {event.type for event in events}


def test_a_call_that_is_cut(gateway: RunningGateway, say: Say) -> None:
    say(CALL[: CALL.index("Delete")], FinishReason.LENGTH)
    made = create(gateway, tools=[PATCH])
    assert made.status == "incomplete"
    call = made.output[1]
    assert isinstance(call, ResponseCustomToolCall)
    assert call.input == "*** Begin Patch\n*** "


def test_history(gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say) -> None:
    say(CALL)
    made = create(gateway, tools=[PATCH])
    call = made.output[1]
    assert isinstance(call, ResponseCustomToolCall)
    result: Any = {"type": "custom_tool_call_output", "call_id": call.call_id}
    parts = [{"type": "input_text", "text": "Done"}, {"type": "input_text", "text": "!"}]
    say("Well.")
    with gateway.openai() as client:
        client.responses.create(
            model=MODEL, input=[result | {"output": "Done!"}], previous_response_id=made.id
        )
        items: Any = [{"role": "user", "content": "Delete a.txt."}, *made.output]
        client.responses.create(model=MODEL, input=[*items, result | {"output": parts}])
    scheduler.next(Submit)
    expected = (
        {"role": "user", "content": "Delete a.txt."},
        {
            "role": "assistant",
            "content": "Now.",
            "tool_calls": [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": "apply_patch", "arguments": {"input": PATCH_TEXT}},
                }
            ],
        },
        {"role": "tool", "content": "Done!", "tool_call_id": call.call_id},
    )
    assert work_of(scheduler.next(Submit)).prompt.messages == expected
    assert work_of(scheduler.next(Submit)).prompt.messages == expected


def test_a_result_without_its_call(gateway: RunningGateway) -> None:
    item: Any = {"type": "custom_tool_call_output", "call_id": "c", "output": "x"}
    with gateway.openai() as client, pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=[item])
    assert refused.value.param == "input"
    assert "custom tool call output" in refused.value.message


GRAMMARS: list[tuple[dict[str, Any], Constraint]] = [
    (
        {"type": "grammar", "syntax": "lark", "definition": LARK},
        Constraint(ConstraintKind.LARK, LARK),
    ),
    (
        {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"},
        Constraint(ConstraintKind.REGEX, "[0-9]+"),
    ),
]


@pytest.mark.parametrize(("form", "constraint"), GRAMMARS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_grammar_is_that_of_a_forced_call(
    gateway: RunningGateway,
    scheduler: ScriptedScheduler,
    say: Say,
    form: dict[str, Any],
    constraint: Constraint,
    streamed: bool,
) -> None:
    """The answer is the text, and not JSON with the text in it."""
    say(PATCH_TEXT)
    tool: Any = PATCH | {"format": form}
    choice: Any = {"type": "custom", "name": "apply_patch"}
    fields: dict[str, Any] = {"tools": [tool, WEATHER], "tool_choice": choice}
    if streamed:
        last = stream(gateway, **fields)[-1]
        assert last.type == "response.completed"
        made = last.response
    else:
        made = create(gateway, **fields)
    [call] = made.output
    assert isinstance(call, ResponseCustomToolCall)
    assert call.input == PATCH_TEXT
    assert work_of(scheduler.next(Submit)).constraint == constraint
    assert made.tools[0].to_dict()["format"] == form


def test_a_forced_text_that_is_cut(gateway: RunningGateway, say: Say) -> None:
    say(PATCH_TEXT[:9], FinishReason.LENGTH)
    tool: Any = PATCH | {"format": GRAMMARS[0][0]}
    made = create(gateway, tools=[tool], tool_choice="required")
    [call] = made.output
    assert isinstance(call, ResponseCustomToolCall)
    assert (call.input, call.to_dict()["status"]) == (PATCH_TEXT[:9], "incomplete")
    assert made.status == "incomplete"


@pytest.mark.parametrize("form", [form for form, _ in GRAMMARS])
def test_under_auto_the_model_is_told_the_grammar(
    gateway: RunningGateway, scheduler: ScriptedScheduler, form: dict[str, Any]
) -> None:
    create(gateway, tools=[PATCH | {"format": form}])
    work = work_of(scheduler.next(Submit))
    assert work.constraint is None
    [tool] = work.prompt.tools
    text = tool["function"]["parameters"]["properties"]["input"]
    assert form["definition"] in text["description"]


def test_without_a_grammar_a_forced_call_is_json(
    gateway: RunningGateway, scheduler: ScriptedScheduler, say: Say
) -> None:
    say('[{"name": "apply_patch", "arguments": {"input": "a\\nb"}}]')
    made = create(gateway, tools=[PATCH], tool_choice="required")
    [call] = made.output
    assert isinstance(call, ResponseCustomToolCall)
    assert call.input == "a\nb"
    constraint = work_of(scheduler.next(Submit)).constraint
    assert constraint.kind is ConstraintKind.JSON_SCHEMA


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "xml"}, "tools[0].format.type"),
        ({"type": "grammar", "definition": "x"}, "tools[0].format.syntax"),
        ({"type": "grammar", "syntax": "lark"}, "tools[0].format.definition"),
        ({"type": "grammar", "syntax": "ebnf", "definition": "x"}, "tools[0].format.syntax"),
    ],
)
def test_wrong_formats_are_named(gateway: RunningGateway, form: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(gateway, tools=[PATCH | {"format": form}])
    assert refused.value.param == param
