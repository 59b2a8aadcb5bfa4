"""What the service counts, and what it lets one client know of another, with the real model."""

from __future__ import annotations

import re

import httpx2
import openai

from tests.service.running_service import MODEL, PATIENCE, Service, eventually

POEM = (
    "The fog came in on little feet and sat above the harbour. It looked over the boats and the "
    "city, on silent haunches, and then it moved on."
)
EDIT = [{"role": "user", "content": f"Repeat this text, word for word: {POEM}"}]


def counters(service: Service) -> dict[str, int]:
    text = httpx2.get(f"{service.url}/metrics", timeout=PATIENCE).text
    return {name: int(value) for name, value in re.findall(r"^(cupola_\S+) (\d+)$", text, re.M)}


def ask(service: Service, key: str = "a", **options: object) -> openai.types.chat.ChatCompletion:
    settings = {"temperature": 0, "max_tokens": 60} | options
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        return client.chat.completions.create(model=MODEL, messages=EDIT, **settings)


def test_a_prediction_is_guessed_from_and_counted(start):
    service = start().ready()
    answer = ask(service)
    prediction = {"type": "content", "content": answer.choices[0].message.content}
    usages = [answer.usage, ask(service, prediction=prediction).usage]
    details = [usage.completion_tokens_details for usage in usages]
    assert details[1].accepted_prediction_tokens > 10
    assert usages[1].prompt_tokens_details.cached_tokens == usages[1].prompt_tokens - 1
    eventually(lambda: counters(service)['cupola_requests_total{outcome="answered"}'] == 2)
    told = counters(service)
    for outcome in ("accepted", "rejected"):
        counted = sum(getattr(detail, f"{outcome}_prediction_tokens") for detail in details)
        assert told[f'cupola_prediction_tokens_total{{outcome="{outcome}"}}'] == counted
    assert told["cupola_prompt_tokens_total"] == sum(usage.prompt_tokens for usage in usages)
    made = sum(usage.completion_tokens for usage in usages)
    assert told["cupola_completion_tokens_total"] == made


def test_clients_with_different_keys_share_no_cache(start):
    service = start(tenants="keys").ready()
    cached = [
        ask(service, key, max_tokens=1).usage.prompt_tokens_details.cached_tokens
        for key in ("one", "two", "one", "two")
    ]
    assert cached[:2] == [0, 0]
    assert min(cached[2:]) > 20
