"""A real embedding model behind real processes, asked by the official client."""

from __future__ import annotations

from typing import Any, Literal

import httpx2
import numpy as np
import openai
import pytest

from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

ENCODER = "all-minilm-l6-v2"


def post(service: Service, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx2.post(f"{service.url}{path}", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_near_in_meaning_is_near(service: Service) -> None:
    texts = ["A cat sits on the mat.", "A kitten lies on a rug.", "Interest rates rose."]
    made = service.openai().embeddings.create(model=ENCODER, input=texts)
    cat, kitten, rates = (np.array(entry.embedding) for entry in made.data)
    assert cat.shape == (384,)
    assert cat @ kitten > 0.5 > cat @ rates
    assert made.model == "all-minilm-l6-v2-generic-cpu:1"
    assert made.usage.prompt_tokens == made.usage.total_tokens == 9 + 9 + 6


def test_tokens_are_as_good_as_text(service: Service) -> None:
    tokens = post(service, "/tokenize", {"model": ENCODER, "prompt": "A cat."})["tokens"]
    client = service.openai()
    forms: tuple[Literal["float", "base64"], ...] = ("float", "base64")
    for form in forms:
        made = client.embeddings.create(model=ENCODER, input=["A cat."], encoding_format=form).data[
            0
        ]
        by_tokens = client.embeddings.create(
            model=ENCODER, input=[tokens], encoding_format=form
        ).data[0]
        assert made.embedding == by_tokens.embedding


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"model": ENCODER, "input": "cat " * 300}, "302 tokens.* 256"),
        ({"model": ENCODER, "input": "cat", "dimensions": 64}, "384 dimensions"),
        ({"model": MODEL, "input": "cat"}, "generates text"),
    ],
)
def test_what_cannot_be_done_is_a_400(service: Service, body: dict[str, Any], named: str) -> None:
    with pytest.raises(openai.BadRequestError, match=named):
        service.openai().embeddings.create(**body)


def test_an_encoder_does_not_chat(service: Service) -> None:
    with pytest.raises(openai.BadRequestError):
        service.openai().chat.completions.create(
            model=ENCODER, messages=[{"role": "user", "content": "Hello"}]
        )


def test_the_tokenizer_round_trip(service: Service) -> None:
    tokens = post(service, "/tokenize", {"content": "Hello, wörld!"})["tokens"]
    assert post(service, "/detokenize", {"tokens": tokens})["content"] == "Hello, wörld!"
    chat = {"messages": [{"role": "user", "content": "Hello"}]}
    prompt = post(service, "/apply-template", chat)["prompt"]
    assert prompt.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    counted = post(service, "/tokenize", chat)
    parsed = post(service, "/tokenize", {"content": prompt})["tokens"]
    assert counted["tokens"] == parsed
    assert counted["max_model_len"] == 8192
