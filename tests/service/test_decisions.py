"""Decisions of the real model behind real processes, asked by the official client."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.client.command_line import Cli
from tests.service.running_service import MODEL, PATIENCE, Service

pytestmark = pytest.mark.slow

STATE = "The parcel came two weeks late, and the box was broken. I want my money back."
ABOUT: Any = {
    "type": "choice",
    "name": "about",
    "instructions": "What is this message about?",
    "choices": [{"value": "cooking"}, {"value": "delivery"}, {"value": "weather"}],
}
BALANCED = {"permutations": 3}  # a small model likes the first option best
LONG: Any = {
    "type": "choice",
    "instructions": "What is this message about?",
    "choices": [{"value": "cooking a dinner"}, {"value": "the delivery of a parcel"}],
}
LATE: Any = {"type": "predicate", "instructions": "The parcel was late."}
ANGER: Any = {
    "type": "score",
    "instructions": "How angry is the customer?",
    "levels": [{"label": "calm"}, {"label": "angry"}],
}


def test_the_real_model_decides(service: Service) -> None:
    client = service.openai()
    made = client.decisions.create(
        model=MODEL, input=STATE, questions=[ABOUT, LONG, LATE, ANGER], extra_body=BALANCED
    )
    about, long, late, anger = made.answers
    assert about.type == "choice" and about.name == "about"
    assert about.choice == max(about.probabilities, key=lambda each: each.probability).value
    assert long.type == "choice" and sum(p.probability for p in long.probabilities) > 0.999
    assert late.type == "predicate" and 0 < late.probability < 1
    assert anger.type == "score" and 0 < anger.score < 1
    again = client.decisions.create(
        model=MODEL, input=STATE, questions=[LATE, ANGER, ABOUT], extra_body=BALANCED
    )
    assert again.answers == [late, anger, about]  # to the last bit
    assert again.usage.input_tokens_details.cached_tokens > 15


def test_too_long_a_state_is_refused_with_the_numbers(service: Service) -> None:
    with pytest.raises(openai.BadRequestError, match=r"\d+ tokens.*context holds \d+") as refused:
        service.openai().decisions.create(model=MODEL, input="word " * 20_000, questions=[LATE])
    assert refused.value.param == "input"


def test_systemone_beside_chat(service: Service) -> None:
    questions = {"late": {"type": "noul", "instructions": "Was the parcel late?"}}
    body = {"model": MODEL, "state": {"message": STATE}, "questions": questions}
    answer = httpx2.post(f"{service.url}/v1/systemone", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    assert 0 < answer.json()["answers"]["late"]["noul"] < 1


def test_an_encoder_and_a_chat_model_rank(service: Service) -> None:
    documents = ["Bread is baked in an oven.", "Paris is the capital of France.", "It rains."]
    for model in ("all-minilm-l6-v2", MODEL):
        body = {"model": model, "query": "What is the capital of France?", "documents": documents}
        answer = httpx2.post(f"{service.url}/v1/rerank", json=body, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert sorted(each["index"] for each in results) == [0, 1, 2]
        scores = [each["relevance_score"] for each in results]
        assert scores == sorted(scores, reverse=True)
        if model != MODEL:
            assert results[0]["index"] == 1


def test_the_command_line_decides(service: Service, tmp_path: Path) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CUPOLA_")}
    cupola = Cli({**clean, "CUPOLA_HOME": str(service.home)})
    asked = ("decide", MODEL, "--question", "What is this about?", "--choices", "food,sport")
    table = cupola.ok(*asked, typed="We baked bread.").splitlines()
    assert [line.split()[0] for line in table[2:4]] == ["food", "sport"]
    file = tmp_path / "inputs.jsonl"
    file.write_text('"We baked bread."\n{"input": "They won the match."}\n')
    lines = cupola.ok(*asked, "--file", str(file), "-o", "json").splitlines()
    assert [json.loads(line)["answers"][0]["type"] for line in lines] == ["choice"] * 2
