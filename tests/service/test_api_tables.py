"""The tables in docs/api.md say what the code does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.ollama.body import OllamaChat, OllamaGenerate
from cupola.gateway.ollama.options import OllamaOptions
from cupola.gateway.openai.body.chat import ChatRequest
from cupola.gateway.openai.body.completion import CompletionRequest
from cupola.gateway.openai.chat import generation_of as chat_generation
from cupola.gateway.openai.completions import generation_of as completion_generation
from cupola.gateway.openai.responses.body.response import ResponsesRequest
from cupola.gateway.openai.responses.endpoints import generation_of as response_generation
from cupola.scheduler.protocol.tasks import SamplingParams
from cupola.service.api_tables import (
    ANTHROPIC,
    DECISIONS,
    HONOURED,
    OLLAMA,
    OPENAI,
    OPTIONS,
    names,
    treatment,
)
from tests.cases import case


@pytest.mark.parametrize(
    "body",
    {**OPENAI, **DECISIONS, **ANTHROPIC, **OLLAMA, **OPTIONS}.values(),
    ids=lambda body: body.__name__,
)
def test_every_parameter_has_one_treatment(body: type[Endpoint]) -> None:
    known = set(names(body))
    refused = {param for param, _, _ in body.refused}
    assert refused <= known and body.labels <= known
    assert not refused & body.labels
    assert all(treatment(body, name) for name in known)
    assert treatment(body, "nothing") == ""


# -- what is honoured changes something ------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f"}}
FLAT_TOOL = {"type": "function", "name": "f"}
CLAUDE_TOOL = {"name": "f", "input_schema": {"type": "object"}}
USER = {"role": "user", "content": "Hi"}
SAMPLES: dict[str, Any] = {
    "model": "other", "messages": [{"role": "user", "content": "Bye"}], "prompt": "Bye",
    "temperature": 0.5, "top_p": 0.5, "top_k": 5, "min_p": 0.5, "typical_p": 0.5,
    "frequency_penalty": 0.5, "presence_penalty": 0.5, "repetition_penalty": 1.5,
    "logit_bias": {"1": 5}, "seed": 5, "random_seed": 5, "stop": "x", "stop_token_ids": [5],
    "min_tokens": 5, "max_tokens": 5, "max_completion_tokens": 5, "ignore_eos": True,
    "skip_special_tokens": False, "n": 2, "metadata": {"top_k": "5"}, "cache_salt": "x",
    "keep_alive": "5m", "ttl": 5, "ep": "cuda", "tools": [TOOL], "functions": [{"name": "f"}],
    "reasoning_effort": "low", "verbosity": "low", "add_generation_prompt": False,
    "prediction": {"type": "content", "content": "x"}, "continue_final_message": True,
    "chat_template_kwargs": {"x": 1}, "response_format": {"type": "json_object"},
    "parse_special": True,
    "structured_outputs": {"regex": "a"}, "guided_json": {}, "guided_regex": "a",
    "guided_choice": ["a"], "guided_grammar": 'start: "a"', "lark_grammar": 'start: "a"',
    "best_of": 3, "logprobs": True, "top_logprobs": 5, "tool_choice": "required",
    "parallel_tool_calls": False, "function_call": {"name": "f"},
    # Of responses.
    "input": "Bye", "instructions": "Be brief", "max_output_tokens": 5,
    "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"},
    "include": ["message.output_text.logprobs"],
    # Of Anthropic's and of Ollama's.
    "system": "Be brief", "stop_sequences": ["x"], "thinking": {"type": "disabled"},
    "output_config": {"effort": "low"}, "options": {"top_k": 5}, "format": "json", "think": True,
    "raw": True, "repeat_penalty": 1.5, "repeat_last_n": 0, "num_predict": 5,
    # Of llama-server and others.
    "json_schema": {"type": "object"}, "grammar": 'root ::= "a"', "max_new_tokens": 5,
    "n_predict": 5, "n_probs": 3, "timings_per_token": True, "return_progress": True,
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {  # what a parameter is nothing without
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [TOOL]},
    "parallel_tool_calls": {"tools": [TOOL]},
    "function_call": {"functions": [{"name": "f"}]},
    "repeat_last_n": {"repeat_penalty": 1.5},
    "return_progress": {"stream": True},
}
# These change the frames, what becomes of the answer, or when it is made: other tests show it.
ELSEWHERE = {
    "priority", "timeout", "stream", "stream_options", "include_reasoning", "echo", "background",
    "store", "previous_response_id",
}  # fmt: skip


def chat(**fields: Any) -> Any:
    return chat_generation(ChatRequest.model_validate({"model": "m", "messages": [USER], **fields}))


def completion(**fields: Any) -> Any:
    if fields.get("logprobs") is True:
        fields["logprobs"] = 3
    if "parse_special" in fields:  # the default is that of llama-server and vLLM
        fields["parse_special"] = False
    asked = CompletionRequest.model_validate({"model": "m", "prompt": "Hi", **fields})
    return completion_generation(asked, asked.prompts[0])


def response(**fields: Any) -> Any:
    if "tools" in fields:
        fields["tools"] = [FLAT_TOOL]
    fields.pop("logprobs", None)
    return response_generation(
        ResponsesRequest.model_validate({"model": "m", "input": "Hi", **fields})
    )


def _claude(fields: dict[str, Any]) -> dict[str, Any]:
    own = {"tools": [CLAUDE_TOOL], "tool_choice": {"type": "any"}}
    return {"model": "m", "messages": [USER]} | {key: own.get(key, fields[key]) for key in fields}


def message(**fields: Any) -> Any:
    asked = MessagesRequest.model_validate({"max_tokens": 9} | _claude(fields))
    return asked.generation(asked.sampling)


def count(**fields: Any) -> Any:
    return CountRequest.model_validate(_claude(fields)).generation(SamplingParams())


def ollama_chat(**fields: Any) -> Any:
    return OllamaChat.model_validate({"model": "m", "messages": [USER], **fields}).request


def ollama_generate(**fields: Any) -> Any:
    return OllamaGenerate.model_validate({"model": "m", "prompt": "Hi", **fields}).request


def options(**fields: Any) -> Any:
    return ollama_chat(options=fields)


BODIES: dict[Callable[..., Any], type[Endpoint]] = {
    chat: ChatRequest,
    completion: CompletionRequest,
    response: ResponsesRequest,
    message: MessagesRequest,
    count: CountRequest,
    ollama_chat: OllamaChat,
    ollama_generate: OllamaGenerate,
    options: OllamaOptions,
}


@pytest.mark.parametrize("make", BODIES)
def test_what_is_honoured_changes_the_generation(make: Callable[..., Any]) -> None:
    body = BODIES[make]
    honoured = {param for param in names(body) if treatment(body, param) == HONOURED}
    for param in honoured - set(ELSEWHERE):
        needed = NEEDED.get(param, {})
        with case(param):
            assert make(**needed, **{param: SAMPLES[param]}) != make(**needed)
