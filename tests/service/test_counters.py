"""What the service counts, and what it lets one client know of another, with the real model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.service.running_service import MODEL, Service, counters

pytestmark = pytest.mark.slow

POEM = (
    "The fog came in on little feet and sat above the harbour. It looked over the boats and the "
    "city, on silent haunches, and then it moved on."
)
EDIT: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": f"Repeat this text, word for word: {POEM}"}
]


def ask(service: Service, key: str = "a", **options: Any) -> ChatCompletion:
    settings: dict[str, Any] = {"temperature": 0, "max_tokens": 60} | options
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        answer: ChatCompletion = client.chat.completions.create(
            model=MODEL, messages=EDIT, **settings
        )
    return answer


def usage_of(answer: ChatCompletion) -> CompletionUsage:
    assert answer.usage is not None
    return answer.usage


def guessed(usage: CompletionUsage, outcome: str) -> int:
    """The tokens that were predicted; ``outcome``: accepted or rejected."""
    return int(getattr(usage.completion_tokens_details, f"{outcome}_prediction_tokens"))


def cached(usage: CompletionUsage) -> int:
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens is not None
    return usage.prompt_tokens_details.cached_tokens


def test_a_prediction_is_guessed_from_and_counted(start: Callable[..., Service]) -> None:
    service = start().ready()
    answer = ask(service)
    prediction = {"type": "content", "content": answer.choices[0].message.content}
    usages = [usage_of(answer), usage_of(ask(service, prediction=prediction))]
    assert guessed(usages[1], "accepted") > 10
    assert cached(usages[1]) == usages[1].prompt_tokens - 1
    counted = counters(service)
    assert counted['cupola_requests_total{outcome="answered"}'] == 2
    for outcome in ("accepted", "rejected"):
        total = sum(guessed(usage, outcome) for usage in usages)
        assert counted[f'cupola_prediction_tokens_total{{outcome="{outcome}"}}'] == total
    assert counted["cupola_prompt_tokens_total"] == sum(usage.prompt_tokens for usage in usages)
    generated = sum(usage.completion_tokens for usage in usages)
    assert counted["cupola_completion_tokens_total"] == generated


def test_clients_with_different_keys_share_no_cache(start: Callable[..., Service]) -> None:
    service = start(tenants="keys").ready()
    found = [
        cached(usage_of(ask(service, key, max_tokens=1))) for key in ("one", "two", "one", "two")
    ]
    assert found[:2] == [0, 0]
    assert min(found[2:]) > 20
