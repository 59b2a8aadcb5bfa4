"""The official Anthropic client, and agents built on it, with the real model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import BaseModel, Field

from tests.service.conftest import THINKER
from tests.service.running_service import MODEL, PATIENCE, Service

if TYPE_CHECKING:
    import anthropic

# The client takes seconds to import. So its tests do, and not each process that collects them.
pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"enum": [1, 2, 3]}},
    "required": ["city", "days"],
}
TOOL: Any = {"name": "get_weather", "description": "Now.", "input_schema": SCHEMA}
ASK: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
}
SHORT = ASK | {"max_tokens": 8}
GREEDY = {"temperature": 0}


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    days: int = Field(ge=1, le=9)


@pytest.fixture
def client(service: Service) -> Iterator[anthropic.Anthropic]:
    import anthropic

    with anthropic.Anthropic(
        base_url=service.url, api_key="any", max_retries=0, timeout=PATIENCE
    ) as client:
        yield client


def kinds(events: Any) -> list[str]:
    """Types of events; neighbours that repeat once."""
    return [kind for kind, _ in groupby(event.type for event in events)]


def test_message(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(**SHORT, system="Be brief.")
    [block] = answer.content
    assert block.type == "text" and block.text
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 8)


def test_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**SHORT) as stream:
        texts = list(stream.text_stream)
        streamed = stream.get_final_message()
    [block] = streamed.content
    assert block.type == "text" and "".join(texts) == block.text
    assert (streamed.stop_reason, streamed.usage.output_tokens) == ("max_tokens", 8)


def test_stop_sequence(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(**ASK, stop_sequences=["e"], extra_body=GREEDY)
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "e")


def test_more_tokens_than_the_context_holds(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(**ASK | {"max_tokens": 32_000}, stop_sequences=["."])
    assert answer.stop_reason == "stop_sequence"


def test_begun_answer(client: anthropic.Anthropic) -> None:
    begun = {"role": "assistant", "content": "The capital of France is"}
    messages = [{"role": "user", "content": "What is the capital of France?"}, begun]
    answer = client.messages.create(**SHORT | {"messages": messages}, extra_body=GREEDY)
    [block] = answer.content
    assert block.type == "text" and "Paris" in block.text


def test_round_trip_of_a_tool(client: anthropic.Anthropic) -> None:
    asked = client.messages.create(
        **ASK, tools=[TOOL], tool_choice={"type": "any"}, extra_body=GREEDY
    )
    assert asked.stop_reason == "tool_use"
    call = asked.content[0]
    assert call.type == "tool_use" and set(call.input) == {"city", "days"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(**SHORT | {"messages": messages}, tools=[TOOL])
    assert answer.content


def test_parsed_answer(client: anthropic.Anthropic) -> None:
    answer = client.messages.parse(**ASK, output_format=Weather, extra_body=GREEDY)
    assert isinstance(answer.parsed_output, Weather)


def test_counted_tokens_are_those_of_the_message(client: anthropic.Anthropic) -> None:
    prompt: dict[str, Any] = {
        "model": MODEL,
        "messages": ASK["messages"],
        "system": "Be brief.",
        "tools": [TOOL],
    }
    counted = client.messages.count_tokens(**prompt)
    usage = client.messages.create(**prompt, max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_thinking(client: anthropic.Anthropic) -> None:
    asked = ASK | {"model": THINKER, "max_tokens": 60}
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(**asked, thinking=thinking, extra_body=GREEDY) as stream:
        seen = kinds(stream)
        thought, text = stream.get_final_message().content
    assert thought.type == "thinking" and text.type == "text"
    assert thought.thinking and thought.signature and "." not in thought.thinking
    assert seen[:4] == ["message_start", "content_block_start", "content_block_delta", "thinking"]
    history = [
        *ASK["messages"],
        {"role": "assistant", "content": [thought, text]},
        {"role": "user", "content": "And in Rome?"},
    ]
    again = asked | {"messages": history, "max_tokens": 2}
    assert client.messages.create(**again, thinking={"type": "disabled"}).content[0].type == "text"


def test_models(client: anthropic.Anthropic) -> None:
    assert THINKER in "".join(model.id for model in client.models.list())
    assert client.models.retrieve(MODEL).type == "model"


def test_async_client(service: Service) -> None:
    import anthropic

    async def ask() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=service.url, api_key="any") as client,
            client.messages.stream(**SHORT) as stream,
        ):
            return await stream.get_final_text()

    assert asyncio.run(ask())


# -- agents ----------------------------------------------------------------------------------------

READ: Any = {
    "name": "read_file",
    "description": "The text of a file.",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"enum": ["greet.py", "gone.py"]}},
        "required": ["path"],
    },
}
EDIT: Any = {
    "name": "edit_file",
    "description": "Replaces a text in a file.",
    "input_schema": {
        "type": "object",
        "properties": {
            "path": {"const": "greet.py"},
            "old": {"const": "Hello"},
            "new": {"enum": ["Goodbye", "Welcome"]},
        },
        "required": ["path", "old", "new"],
    },
}


class Tools:
    """What the agent can do, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, name: str, given: Mapping[str, Any]) -> str:
        file = self._folder / str(given["path"])
        if name == "edit_file":
            file.write_text(file.read_text().replace(given["old"], given["new"]))
            return "Done."
        return file.read_text()


def turn(
    client: anthropic.Anthropic, messages: list[Any], tools: Tools, choice: Any
) -> anthropic.types.Message:
    """One turn of an agent: the streamed answer, and the results of its calls."""
    with client.messages.stream(
        model=MODEL,
        max_tokens=120,
        system=[{"type": "text", "text": "Edit.", "cache_control": {"type": "ephemeral"}}],
        messages=messages,
        tools=[READ, EDIT],
        tool_choice=choice,
    ) as stream:
        seen = set(kinds(stream))
        answer = stream.get_final_message()
    messages.append({"role": "assistant", "content": answer.content})
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert ("input_json" in seen) is bool(calls)
    results = []
    for call in calls:
        try:
            told, failed = tools.run(call.name, call.input), False
        except OSError as error:
            told, failed = str(error), True
        results.append(
            {"type": "tool_result", "tool_use_id": call.id, "content": told, "is_error": failed}
        )
    if results:
        messages.append({"role": "user", "content": results})
    return answer


def test_a_coding_agent(client: anthropic.Anthropic, tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text('print("Hello")\n')
    tools = Tools(tmp_path)
    messages: list[Any] = [{"role": "user", "content": "Change the greeting."}]
    one = {"disable_parallel_tool_use": True}
    for choice in (
        {"type": "tool", "name": "read_file"},
        {"type": "any"} | one,
        {"type": "tool", "name": "edit_file"},
    ):
        answer = turn(client, messages, tools, choice)
        assert answer.stop_reason == "tool_use"
        [call] = answer.content
        assert call.type == "tool_use"
        assert call.name == choice.get("name", call.name)
    # The prompt of a turn begins with that of the turn before, whatever call is required.
    assert (answer.usage.cache_read_input_tokens or 0) > 100
    last = turn(client, messages, tools, {"type": "none"})
    assert last.content[0].type == "text"
    assert "Hello" not in (tmp_path / "greet.py").read_text()
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4


def test_the_runner_of_tools(client: anthropic.Anthropic) -> None:
    import anthropic

    called: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: Literal["Paris", "Rome"]) -> str:
        """The weather in a city.

        Args:
            city: Its name.
        """
        called.append(city)
        return "Sunny"

    # It would keep the conversation on the server, and goes on without when that is refused.
    runner = client.beta.messages.tool_runner(
        **ASK,
        tools=[get_weather],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        max_iterations=2,
    )
    answers = [message.content[0].type for message in runner]
    assert answers == ["tool_use", "tool_use"]
    assert called and set(called) <= {"Paris", "Rome"}
