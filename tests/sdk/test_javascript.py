"""npm's `foundry-local-sdk` 0.5, unmodified, in Node."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cupola.cache.home import Home
from tests.sdk.conftest import Machine
from tests.sdk.environments import node_with

pytestmark = pytest.mark.slow

ALIAS = "smollm2-135m"
QUESTION = "five words for an echo"


def test_from_a_stopped_service_to_a_chat(
    machine: Machine, place_fake: Callable[[Home], str], test_cache: Path
) -> None:
    folder = node_with(test_cache, "0.5.0", "foundry-local-sdk@0.5.0", "openai")
    model = place_fake(machine.home)
    told = machine.program("node", "sdk_0.mjs", str(folder), ALIAS, QUESTION)
    assert told["running before"] is False
    assert told["downloaded"] == model
    assert told["progress"]
    assert (told["model"], told["upgradeable"]) == (model, False)
    assert model in told["catalog"]
    assert (told["cached"], told["loaded"]) == ([model], [model])
    assert told["location"] == str(machine.home.models)
    assert told["answer"].split()[:5] == QUESTION.split()
    assert told["streamed"] == told["answer"]
    assert told["loaded after unload"] == [model]
    assert told["loaded after force"] == []


def test_the_entry_for_browsers(
    machine: Machine, place_fake: Callable[[Home], str], test_cache: Path
) -> None:
    folder = node_with(test_cache, "0.5.0", "foundry-local-sdk@0.5.0", "openai")
    model = place_fake(machine.home)
    url = json.loads(machine.foundry("service", "start", "-o", "json"))["webUrls"][0]
    arguments = (str(folder), url, ALIAS)
    told = machine.program("node", "browser.mjs", *arguments, "http://localhost:3000")
    assert told["preflight"]
    assert "POST" in told["methods"]
    assert model in told["catalog"]
    assert (told["model"], told["loaded"]) == (model, [model])
    foreign = machine.program("node", "browser.mjs", *arguments, "https://example.org")
    assert "error" in foreign
