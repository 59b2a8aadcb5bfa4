"""Prompts outlive their slots and the service, as the official client of OpenAI sees it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.home import Home
from tests.service.running_service import MODEL, Service

pytestmark = pytest.mark.slow

WORDS = "river house blue warm stone garden letter seven bridge music paper window".split()


def prompt(number: int, words: int = 90) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words))


def ask(service: Service, text: str) -> tuple[str, object, int]:
    """The answer, its log-probabilities, and how many tokens of the prompt were cached."""
    answer = service.openai().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": text}],
        max_tokens=8,
        temperature=0,
        logprobs=True,
    )
    [choice] = answer.choices
    assert choice.logprobs and choice.message.content and answer.usage
    details = answer.usage.prompt_tokens_details
    assert details
    return choice.message.content, choice.logprobs.content, details.cached_tokens or 0


def test_prompts_are_found_behind_other_slots_and_after_a_restart(
    place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    place_model(tmp_path)
    settings: dict[str, Any] = {"slots": 2, "prefix_cache_mb": 256, "prefix_disk_mb": 256}
    settings |= {"lean": False, "warm_up": "no"}
    numbers = range(5)
    with Service(tmp_path, **settings).ready() as service:
        first = [ask(service, prompt(number)) for number in numbers]
        again = [ask(service, prompt(number)) for number in numbers]
        entry = service.openai().models.retrieve(MODEL).model_dump()
    assert [answer[:2] for answer in again] == [answer[:2] for answer in first]
    assert min(cached for *_, cached in again) > 80
    assert entry["keptBytes"] > 0

    files = [path for path in Home(tmp_path).prefixes.rglob("*") if path.is_file()]
    assert files
    assert not any(b" river" in path.read_bytes() for path in files)

    with Service(tmp_path, **settings).ready() as service:
        found = [ask(service, prompt(number)) for number in numbers]
    assert [answer[:2] for answer in found] == [answer[:2] for answer in first]
    assert min(cached for *_, cached in found) > 80
