"""The same request has the same answer, to the bit, as the official client of OpenAI sees it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from tests.service.running_service import MODEL, Service

pytestmark = pytest.mark.slow

QUESTIONS = (
    "Write a short story about a lighthouse.",
    "Explain how rain forms.",
    "List five fruits and say why each is healthy.",
)
TEACHER = "You are a patient teacher who answers in whole sentences. " * 6

WORKERS = ("cpu:0/0", "cpu:0/1")
LEAST = 0.3  # seconds of computing that show that a worker has answered: an answer takes more

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


def test_the_same_answer_of_either_of_two_workers(start: Callable[..., Service]) -> None:
    service = start(lean=False, warm_up="no", workers="2", threads="1", slots="1").ready()
    for name in WORKERS:
        if f"worker {name} joined" not in "\n".join(service.log):
            service.wait_for(f"worker {name} joined")
    options: dict[str, Any] = {"temperature": 0.9, "seed": 5}
    workers = [service.child(f"worker {name}") for name in WORKERS]
    before = [computed(worker) for worker in workers]
    with ThreadPoolExecutor(4) as crowd:  # a worker runs one at a time: both have work
        answers = [crowd.submit(ask, service, QUESTIONS[0], **options) for _ in range(8)]
        [first, *others] = [answer.result() for answer in answers]
    assert others == [first] * 7
    for worker, earlier in zip(workers, before, strict=True):
        assert computed(worker) > earlier + LEAST, "a worker has answered nothing"


def computed(worker: psutil.Process) -> float:
    """Seconds of computing of a worker until now."""
    times = worker.cpu_times()
    return times.user + times.system


def test_a_loaded_model_says_so(service: Service) -> None:
    entry = service.openai().models.retrieve(MODEL)
    assert entry.model_dump()["reproducible"] is True
