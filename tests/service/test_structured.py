"""Answers that must have a form, from a small model that would not keep to it by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx2
import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.service.running_service import MODEL, PATIENCE, Service, eventually

pytestmark = pytest.mark.slow

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me about a person."}]


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = pydantic.Field(max_length=20)
    age: int = pydantic.Field(ge=0, le=150)
    mood: Literal["calm", "glad"]


def ask(service: Service, form: Any, **options: Any) -> ChatCompletion:
    answer: ChatCompletion = service.openai().chat.completions.create(
        model=MODEL, messages=ASK, response_format=form, max_tokens=300, **options
    )
    return answer


def test_a_parsed_answer(service: Service) -> None:
    answer = service.openai().chat.completions.parse(
        model=MODEL, messages=ASK, response_format=Person, max_tokens=300
    )
    assert isinstance(answer.choices[0].message.parsed, Person)
    assert answer.choices[0].finish_reason == "stop"


def test_many_at_once_whatever_the_temperature(service: Service) -> None:
    form = {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": Person.model_json_schema()},
    }
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda seed: ask(service, form, seed=seed, temperature=1.5), range(8))
        for answer in answers:
            Person.model_validate_json(answer.choices[0].message.content or "")


def test_a_regular_expression(service: Service) -> None:
    answer = ask(service, {"type": "regex", "regex": r"[A-Z][a-z]{2,8}, \d{2} years"})
    assert re.fullmatch(r"[A-Z][a-z]{2,8}, \d{2} years", answer.choices[0].message.content or "")


def test_an_answer_that_is_cut_says_so(service: Service) -> None:
    answer = service.openai().chat.completions.create(
        model=MODEL, messages=ASK, response_format={"type": "json_object"}, max_tokens=3
    )
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("schema", "named"),
    [({"type": "array", "uniqueItems": True}, "uniqueItems"), ({"type": "fruit"}, "fruit")],
)
def test_a_schema_that_cannot_be_enforced_is_refused_by_its_keyword(
    service: Service, schema: dict[str, Any], named: str
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match=named):
        ask(service, form)


def test_grammars_that_are_not_ready_take_nobodys_place(start: Callable[..., Service]) -> None:
    service = start(slots=1).ready()
    with ThreadPoolExecutor(4) as threads:
        bombs = []
        for number in range(4):  # they are tried one after the other, for seconds each
            grammar = "start: x\nx: " + "x x | " * 1000 + f'"{number}"'
            form = {"type": "lark_grammar", "lark_grammar": grammar}
            bombs.append(threads.submit(ask, service, form))
        eventually(lambda: waiting(service) >= 2)
        answer = service.openai().chat.completions.create(model=MODEL, messages=ASK, max_tokens=2)
        assert answer.choices[0].finish_reason
        assert not all(bomb.done() for bomb in bombs)
        for bomb in bombs:
            with pytest.raises(openai.BadRequestError, match="complex"):
                bomb.result()


def waiting(service: Service) -> int:
    return int(httpx2.get(f"{service.url}/ready", timeout=PATIENCE).json()["queued"])


def test_a_grammar_bomb_does_not_stop_the_others(service: Service) -> None:
    bomb = {"type": "lark_grammar", "lark_grammar": "start: x\nx: " + "x x | " * 1000 + '"a"'}
    with ThreadPoolExecutor(1) as thread:
        refused = thread.submit(ask, service, bomb)
        stream = service.openai().chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=30, stream=True
        )
        *_, last = stream
        assert last.choices[0].finish_reason
        with pytest.raises(openai.BadRequestError, match="complex"):
            refused.result()
