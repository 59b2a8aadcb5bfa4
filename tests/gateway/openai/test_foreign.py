"""Fields of other servers: honoured, taken, or refused by name; none is dropped in silence."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from cupola.gateway.http.errors import ApiError, from_validation
from cupola.gateway.http.foreign_fields import HARMLESS, REFUSED
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import DEFAULT_MAX_TOKENS, CompletionRequest
from cupola.gateway.openai.body.embeddings import EmbeddingsRequest
from cupola.gateway.openai.body.sampling import SamplingFields
from cupola.gateway.openai.chat import generation_of as chat_generation
from cupola.gateway.openai.completions import generation_of as completion_generation
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.gateway.openai.responses.endpoints import generation_of as response_generation
from cupola.scheduler.protocol.tasks import ConstraintKind, SamplingParams
from tests.cases import case

USER = {"role": "user", "content": "Hi"}
GOOD: dict[type[Endpoint], dict[str, Any]] = {
    ChatRequest: {"model": "m", "messages": [USER]},
    CompletionRequest: {"model": "m", "prompt": "Hi"},
    ResponsesRequest: {"model": "m", "input": "Hi"},
    EmbeddingsRequest: {"model": "m", "input": "Hi"},
}
each_body = pytest.mark.parametrize("body", GOOD)
GENERATING: tuple[type[SamplingFields], ...] = (ChatRequest, CompletionRequest, ResponsesRequest)
GBNF = 'root ::= "yes" | "no"'
LARK = 'start: "yes" | "no"'
# What asks for something, of each field that is refused; for the others any true value does.
ASKS: dict[str, Any] = {"do_sample": False, "parse_tool_calls": False}
ASKS_NOTHING: dict[str, Any] = {
    "mirostat": 0, "dry_multiplier": 0.0, "xtc_probability": 0, "top_a": 0, "top_n_sigma": -1.0,
    "tfs_z": 1.0, "lora": [], "num_beams": 1, "do_sample": True, "parse_tool_calls": True,
    "grammar": "", "length_penalty": 1.0, "reasoning_budget": -1, "samplers": [],
}  # fmt: skip


def parse(body: type[Endpoint], **fields: Any) -> Any:
    return body.model_validate_json(json.dumps(GOOD[body] | fields))


def refused(body: type[Endpoint], **fields: Any) -> ApiError:
    with pytest.raises(ValidationError) as raised:
        parse(body, **fields)
    return from_validation(raised.value)


def sampling(body: type[SamplingFields], **fields: Any) -> SamplingParams:
    parsed = parse(body, **fields)
    if isinstance(parsed, ChatRequest):
        return chat_generation(parsed).sampling
    if isinstance(parsed, CompletionRequest):
        return completion_generation(parsed, parsed.prompts[0]).sampling
    return response_generation(parsed).sampling


@each_body
def test_harmless(body: type[Endpoint]) -> None:
    for field, value in product(HARMLESS, (True, 1, "auto", None, ["a"], {"a": 1})):
        with case(field, value):
            parse(body, **{field: value})


@each_body
def test_refused_by_name(body: type[Endpoint]) -> None:
    for field in REFUSED.keys() - body.model_fields.keys():  # the others are honoured here
        with case(field):
            error = refused(body, **{field: ASKS.get(field, 3)})
            assert (error.code, error.param) == ("unsupported_parameter", field)
            assert f"'{field}'" in error.message
            parse(body, **{field: None})


@each_body
def test_values_that_ask_for_nothing(body: type[Endpoint]) -> None:
    for field, value in ASKS_NOTHING.items():
        with case(field):
            parse(body, **{field: value})


def test_no_field_is_in_two_tables() -> None:
    assert not HARMLESS & REFUSED.keys()


@each_body
@pytest.mark.parametrize("field", ["mirostta", "grammer", "repeat_penalti"])
def test_typos(body: type[Endpoint], field: str) -> None:
    near = {"repeat_penalti": "repeat_penalty", "grammer": "grammar"}.get(field, "")
    if near in body.model_fields:
        assert refused(body, **{field: 1}).code == "unknown_parameter"


# -- honoured --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", GENERATING)
def test_repeat_penalty(body: type[SamplingFields]) -> None:
    assert sampling(body, repeat_penalty=1.3).repetition_penalty == 1.3
    assert sampling(body, repeat_penalty=1.3, repeat_last_n=-1).repetition_penalty == 1.3
    off = sampling(body, repeat_penalty=1.3, repeat_last_n=0)
    assert off.repetition_penalty == 1  # off, whatever the model's makers advise
    sampling(body, repeat_penalty=1, repeat_last_n=64)  # what clients send by default
    assert refused(body, repeat_penalty=1.3, repeat_last_n=64).param == "repeat_last_n"
    assert refused(body, repeat_penalty=1.3, repetition_penalty=1.2).param == "repeat_penalty"


@pytest.mark.parametrize("body", [ChatRequest, CompletionRequest])
@pytest.mark.parametrize("field", ["max_tokens", "max_new_tokens", "n_predict"])
def test_limits(body: type[SamplingFields], field: str) -> None:
    assert sampling(body, **{field: 7}).max_tokens == 7
    assert sampling(body, **{field: -1}).max_tokens is None
    assert refused(body, **{field: 0}).param == field
    assert refused(body, **{field: -2}).param == field


def test_no_limit() -> None:
    assert sampling(ChatRequest, max_completion_tokens=-1).max_tokens is None
    assert sampling(ResponsesRequest, max_output_tokens=-1).max_tokens is None
    assert sampling(CompletionRequest).max_tokens == DEFAULT_MAX_TOKENS
    both = chat_generation(parse(ChatRequest, max_tokens=5, max_completion_tokens=6))
    assert both.sampling.max_tokens == 6
    assert sampling(ChatRequest, n_predict=5).max_tokens == 5


@pytest.mark.parametrize("body", [ChatRequest, CompletionRequest])
def test_n_probs(body: type[SamplingFields]) -> None:
    assert sampling(body, n_probs=3).logprobs == 3
    assert sampling(body, n_probs=0).logprobs is None


@pytest.mark.parametrize("body", [ChatRequest, CompletionRequest])
@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"grammar": GBNF}, ConstraintKind.GBNF),
        ({"grammar": LARK}, ConstraintKind.LARK),
        ({"guided_grammar": GBNF}, ConstraintKind.GBNF),
        ({"guided_grammar": LARK}, ConstraintKind.LARK),
        ({"structured_outputs": {"grammar": GBNF}}, ConstraintKind.GBNF),
        ({"json_schema": {"type": "object"}}, ConstraintKind.JSON_SCHEMA),
    ],
)
def test_forms(body: type[Endpoint], fields: dict[str, Any], kind: ConstraintKind) -> None:
    parsed = parse(body, **fields)
    assert parsed.constraint.kind is kind
    [name] = fields
    assert parsed.constraint_param.startswith(name)
    assert refused(body, **fields, guided_regex="a").code == "invalid_value"
