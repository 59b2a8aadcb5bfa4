"""The same request has the same answer, to the bit, as the official client of OpenAI sees it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.service.running_service import MODEL, Service

QUESTIONS = (
    "Write a short story about a lighthouse.",
    "Explain how rain forms.",
    "List five fruits and say why each is healthy.",
)
TEACHER = "You are a patient teacher who answers in whole sentences. " * 6

Answer = tuple[str, list[tuple[str, float, list[tuple[str, float]]]]]


def ask(service: Service, question: str, **options: Any) -> Answer:
    """The text, its tokens and the best alternatives, with their log-probabilities."""
    answer = service.openai().chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": TEACHER},
            {"role": "user", "content": question},
        ],
        max_tokens=48,
        logprobs=True,
        top_logprobs=2,
        **options,
    )
    [choice] = answer.choices
    assert choice.message.content and choice.logprobs and choice.logprobs.content
    tokens = [
        (each.token, each.logprob, [(other.token, other.logprob) for other in each.top_logprobs])
        for each in choice.logprobs.content
    ]
    return choice.message.content, tokens


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.9, "seed": 5}])
def test_the_same_answer_cached_guessed_and_in_a_crowd(
    service: Service, options: dict[str, Any]
) -> None:
    first = {question: ask(service, question, **options) for question in QUESTIONS}
    for question, answer in first.items():
        assert ask(service, question, **options) == answer
        prediction = {"type": "content", "content": answer[0]}
        assert ask(service, question, **options, prediction=prediction) == answer
    with ThreadPoolExecutor(8) as crowd:
        others = [crowd.submit(ask, service, f"{q} {n}") for n in range(2) for q in QUESTIONS]
        again = {q: crowd.submit(ask, service, q, **options) for q in QUESTIONS}
        assert {question: answer.result() for question, answer in again.items()} == first
        for other in others:
            other.result()


def test_a_loaded_model_says_so(service: Service) -> None:
    entry = service.openai().models.retrieve(MODEL)
    assert entry.model_dump()["reproducible"] is True
