"""A real model behind real processes, asked by the official client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.default_model import DEFAULT_MODEL
from tests.service.running_service import MODEL, Service

pytestmark = pytest.mark.slow

# Its answer is clear to the model: rounding on another processor makes no other of it.
SUM: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is 2+2?"}]
MODEL_ID = DEFAULT_MODEL.id


def unshared(name: str) -> dict[str, str]:
    """Parameters of a request that finds nothing in the cache.

    A quantised model's words may depend on how much of the prompt is cached. Two answers that must
    be equal both read the whole prompt. tests/workers has the exact statement, for float32.
    """
    return {"cache_salt": name}


def test_two_and_two_is_four(service: Service) -> None:
    answer = service.openai().chat.completions.create(
        model=MODEL, messages=SUM, temperature=0, max_tokens=50
    )
    assert "is 4" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL_ID
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_streamed_it_is_the_same_answer_in_pieces(service: Service) -> None:
    client = service.openai()
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": SUM,
        "temperature": 0,
        "max_tokens": 50,
    }
    whole = client.chat.completions.create(**request, extra_body=unshared("whole"))
    chunks = list(
        client.chat.completions.create(
            **request,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=unshared("streamed"),
        )
    )
    *deltas, last, usage = chunks
    assert "".join(d.choices[0].delta.content or "" for d in deltas) == (
        whole.choices[0].message.content
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert deltas[0].choices[0].delta.role == "assistant"
    assert last.choices[0].finish_reason == "stop"
    # The second may be guessed from the first.
    guesses = {"accepted_prediction_tokens", "rejected_prediction_tokens"}
    assert usage.usage is not None and whole.usage is not None
    found, expected = (
        each.model_dump(exclude={"completion_tokens_details": guesses})
        for each in (usage.usage, whole.usage)
    )
    assert found == expected


@pytest.mark.parametrize("name", [MODEL, MODEL_ID, MODEL_ID.removesuffix(":1"), MODEL.upper()])
def test_a_model_answers_to_alias_name_and_id(service: Service, name: str) -> None:
    answer = service.openai().chat.completions.create(
        model=name, messages=SUM, temperature=0, max_tokens=1
    )
    assert answer.model == MODEL_ID
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 1


def test_the_prompt_has_the_tokens_of_the_template(service: Service) -> None:
    answer = service.openai().chat.completions.create(model=MODEL, messages=SUM, max_tokens=1)
    # 24 of the default system message, 7 of the question.
    assert answer.usage and answer.usage.prompt_tokens == 37


def test_sixteen_apps_at_once_each_get_their_own_answer(service: Service) -> None:
    async def ask(client: openai.AsyncOpenAI, number: int) -> str:
        words = f"Repeat this number and nothing else: {number}"
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": words}],
            temperature=0,
            max_tokens=24,
            stream=True,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def ask_all() -> list[str]:
        async with service.async_openai() as client:
            return await asyncio.gather(*(ask(client, 1000 + 7 * n) for n in range(16)))

    answers = asyncio.run(ask_all())
    assert all(answers)
    right = sum(str(1000 + 7 * n) in answer for n, answer in enumerate(answers))
    others = sum(
        str(1000 + 7 * m) in answer for n, answer in enumerate(answers) for m in range(16) if m != n
    )
    assert right >= 8  # a small model does not always obey
    assert others == 0


def test_a_stop_string_is_never_sent(service: Service) -> None:
    client = service.openai()
    count = [{"role": "user", "content": "Count: one, two, three, four, five, six, seven"}]
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": count,
        "temperature": 0,
        "max_tokens": 40,
    }
    text = (
        client.chat.completions.create(**request, extra_body=unshared("stop"))
        .choices[0]
        .message.content
    )
    assert text
    stop = text[len(text) // 2 :][:4]
    chunks = client.chat.completions.create(
        **request, stop=[stop], stream=True, extra_body=unshared("stopped")
    )
    choices = [chunk.choices[0] for chunk in chunks]
    assert "".join(c.delta.content or "" for c in choices) == text[: text.index(stop)]
    assert choices[-1].finish_reason == "stop"


def test_a_seed_repeats_the_answer(service: Service) -> None:
    def ask(seed: int, name: str) -> str:
        answer = service.openai().chat.completions.create(
            model=MODEL,
            messages=SUM,
            temperature=1.5,
            seed=seed,
            max_tokens=20,
            extra_body=unshared(name),
        )
        return answer.choices[0].message.content or ""

    first = [ask(seed, f"first {seed}") for seed in range(4)]
    assert [ask(seed, f"second {seed}") for seed in range(4)] == first
    assert len(set(first)) > 1


def test_max_tokens_beyond_the_context_are_shortened_and_the_header_says_to_what(
    service: Service,
) -> None:
    raw = service.openai().chat.completions.with_raw_response.create(
        model=MODEL, messages=SUM, max_tokens=9000, temperature=0, stop=["."]
    )
    answer = raw.parse()
    assert answer.usage is not None
    assert int(raw.headers["x-cupola-max-tokens"]) == 8192 - answer.usage.prompt_tokens
    assert answer.choices[0].message.content


def test_a_prompt_longer_than_the_context_says_both_numbers(service: Service) -> None:
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(openai.BadRequestError) as error:
        service.openai().chat.completions.create(model=MODEL, messages=long)
    assert error.value.code == "context_length_exceeded"
    assert "8192" in error.value.message


def test_an_unknown_model_lists_near_names(service: Service) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        service.openai().chat.completions.create(model="smollm2-125m", messages=SUM)
    assert error.value.code == "model_not_found"
    assert MODEL in error.value.message


def test_the_models_are_listed(service: Service) -> None:
    assert MODEL_ID in [model.id for model in service.openai().models.list().data]
    model = service.openai().models.retrieve(MODEL)
    assert model.id == MODEL_ID
    assert model.to_dict()["engine"] == "batching"


def test_the_front_page_shows_a_command_that_works(service: Service) -> None:
    page = httpx2.get(service.url)
    assert page.headers["content-type"].startswith("text/html")
    assert f"{service.url}/v1/chat/completions" in page.text


def test_two_workers_share_the_work(start: Callable[..., Service]) -> None:
    service = start(workers="2", backend="echo").ready()
    for name in ("cpu:0/0", "cpu:0/1"):
        if f"worker {name} joined" not in "\n".join(service.log):
            service.wait_for(f"worker {name} joined")
    assert service.child("worker cpu:0/0").pid != service.child("worker cpu:0/1").pid

    async def ask_all() -> list[str]:
        async with service.async_openai() as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": f"word{n}"}]
                    )
                    for n in range(40)
                )
            )
            return [(answer.choices[0].message.content or "").strip() for answer in answers]

    assert asyncio.run(ask_all()) == [f"word{n}" for n in range(40)]
