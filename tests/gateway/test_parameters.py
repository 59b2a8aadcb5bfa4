"""The tables in docs/api.md say what the code does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.gateway.chat import generation_of as chat_generation
from cupola.gateway.completions import generation_of as completion_generation
from cupola.gateway.generation import GenerationRequest
from cupola.gateway.parameters import (
    ENDPOINTS,
    HONOURED,
    TABLES,
    main,
    names,
    treatment,
    written,
)
from cupola.gateway.schemas.chat import ChatRequest
from cupola.gateway.schemas.completion import CompletionRequest
from cupola.gateway.schemas.validation import Endpoint

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text("utf-8")
    assert written(text) == text, "run: python -m cupola.gateway.parameters docs/api.md"


def test_writing_it(tmp_path: Path) -> None:
    page = tmp_path / "api.md"
    page.write_text(
        "".join(f"<!-- {n} begins: made by cupola.gateway.parameters -->x<!-- {n} ends -->"
                for n in TABLES)
    )  # fmt: skip
    main([str(page)])
    assert "x<" not in page.read_text() and "`temperature`" in page.read_text()
    with pytest.raises(ValueError, match="no place"):
        written("")


@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
def test_every_parameter_has_one_treatment(path: str, body: type[Endpoint]) -> None:
    known = set(names(body))
    refused = {param for param, _, _ in body.refused}
    assert refused <= known and body.labels <= known
    assert not refused & body.labels
    assert all(treatment(body, name) for name in known)
    assert treatment(body, "nothing") == ""


# -- what is honoured changes something ------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f"}}
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
    "structured_outputs": {"regex": "a"}, "guided_json": {}, "guided_regex": "a",
    "guided_choice": ["a"], "guided_grammar": 'start: "a"', "lark_grammar": 'start: "a"',
    "best_of": 3, "logprobs": True, "top_logprobs": 5, "tool_choice": "required",
    "parallel_tool_calls": False, "function_call": {"name": "f"},
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {  # what a parameter is nothing without
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [TOOL]},
    "parallel_tool_calls": {"tools": [TOOL]},
    "function_call": {"functions": [{"name": "f"}]},
}
# These change the frames, not the generation: tests of chat and completions show it.
IN_FRAMES = {"stream", "stream_options", "include_reasoning", "echo"}


def chat(**fields: Any) -> GenerationRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return chat_generation(ChatRequest.model_validate(body))


def completion(**fields: Any) -> GenerationRequest:
    if fields.get("logprobs") is True:
        fields["logprobs"] = 3
    asked = CompletionRequest.model_validate({"model": "m", "prompt": "Hi", **fields})
    return completion_generation(asked, asked.prompts[0])


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (make, param)
        for make, body in ((chat, ChatRequest), (completion, CompletionRequest))
        for param in names(body)
        if treatment(body, param) == HONOURED and param not in IN_FRAMES
    ],
)
def test_what_is_honoured_changes_the_generation(
    make: Callable[..., GenerationRequest], param: str
) -> None:
    needed = NEEDED.get(param, {})
    assert make(**needed, **{param: SAMPLES[param]}) != make(**needed)
