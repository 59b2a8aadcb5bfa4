"""The official Ollama client with the real model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import ollama
import pytest
from pydantic import BaseModel

from tests.default_model import DEFAULT_MODEL
from tests.service.conftest import ENCODER, THINKER
from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

ASK: list[dict[str, Any]] = [{"role": "user", "content": "How is the weather in Paris?"}]
SHORT = {"num_predict": 8, "temperature": 0}
LONG = {"num_predict": 100, "temperature": 0}


class Weather(BaseModel):
    city: Literal["Paris", "Rome"]
    days: Literal[1, 2, 3]


def get_weather(city: str) -> str:
    """The weather now.

    Args:
        city: The city's name.
    """
    return f"Sunny in {city}"


@pytest.fixture
def client(service: Service) -> Iterator[ollama.Client]:
    with ollama.Client(host=service.url, timeout=PATIENCE) as client:
        yield client


def test_chat(client: ollama.Client) -> None:
    answer = client.chat(MODEL, ASK, options=SHORT)
    assert answer.message.content and answer.done
    assert (answer.eval_count, answer.done_reason) == (8, "length")
    assert answer.prompt_eval_count == 37
    parts = list(client.chat(MODEL, ASK, options=SHORT, stream=True))
    assert len(parts) > 4
    assert "".join(part.message.content or "" for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_generate(client: ollama.Client) -> None:
    question = "How many days are in a week?"
    answer = client.generate(MODEL, question, system="Answer in one sentence.", options=LONG)
    assert "7 days" in (answer.response or "")
    raw = client.generate(MODEL, "One, two,", raw=True, options=SHORT, stream=True)
    assert "".join(part.response or "" for part in raw)


def test_format(client: ollama.Client) -> None:
    answer = client.chat(MODEL, ASK, format=Weather.model_json_schema(), options=LONG)
    assert Weather.model_validate_json(answer.message.content or "")


def test_tools(client: ollama.Client) -> None:
    first = client.chat(MODEL, ASK, tools=[get_weather], options=SHORT)
    assert first.message.content or first.message.tool_calls
    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    messages = [
        *ASK,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": get_weather("Paris")},
    ]
    assert client.chat(MODEL, messages, tools=[get_weather], options=SHORT).message.content


def test_thinking(client: ollama.Client) -> None:
    answer = client.chat(THINKER, ASK, think=True, options=LONG).message
    assert answer.thinking and "." not in answer.thinking
    assert answer.content
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat(MODEL, ASK, think=True)


def test_logprobs(client: ollama.Client) -> None:
    answer = client.chat(MODEL, ASK, logprobs=True, top_logprobs=2, options=SHORT)
    assert len(answer.logprobs or ()) == 8


def test_vectors(client: ollama.Client) -> None:
    made = client.embed(ENCODER, ["a", "b"])
    assert [len(vector) for vector in made.embeddings] == [384, 384]
    assert client.embeddings(ENCODER, "a").embedding == made.embeddings[0]


def test_models(client: ollama.Client) -> None:
    ids = {model.model for model in client.list().models}
    assert {DEFAULT_MODEL.id, "all-minilm-l6-v2-generic-cpu:1"} <= ids
    assert "completion" in (client.show(MODEL).capabilities or ())
    assert [line.status for line in client.pull(MODEL, stream=True)][-1] == "success"
    with pytest.raises(ollama.ResponseError) as refused:
        client.copy(MODEL, "other")
    assert refused.value.status_code == 501


def expiry(client: ollama.Client, name: str) -> datetime | None:
    """When a model that runs will leave; None: it does not run."""
    return next((m.expires_at for m in client.ps().models if name in (m.model or "")), None)


def test_a_model_comes_and_goes(client: ollama.Client) -> None:
    client.generate(THINKER, keep_alive=0)
    assert client.generate(THINKER, keep_alive="1h").done_reason == "load"
    until = expiry(client, THINKER)
    assert until is not None
    assert 3000 < (until - datetime.now(UTC)).total_seconds() < 3700
    assert client.generate(THINKER, keep_alive=0).done_reason == "unload"
    assert expiry(client, THINKER) is None
    answer = client.chat(THINKER, ASK, options=SHORT, keep_alive=-1)
    assert answer.load_duration and answer.total_duration
    assert 0 < answer.load_duration < answer.total_duration
    until = expiry(client, THINKER)
    assert until is not None and until.year > 2100  # for ever
    assert not client.chat(THINKER, ASK, options=SHORT).load_duration


def test_async_client(service: Service) -> None:
    async def ask() -> str:
        async with ollama.AsyncClient(host=service.url, timeout=PATIENCE) as client:
            parts = await client.chat(MODEL, ASK, options=SHORT, stream=True)
            return "".join([part.message.content or "" async for part in parts])

    assert asyncio.run(ask())
