"""A request that kills its worker, and a model that cannot be loaded: what the others see of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cupola.workers.echo import KILLER
from tests.client.command_line import Cli
from tests.service.running_service import MODEL, PATIENCE, Service, eventually

pytestmark = pytest.mark.slow

Start = Callable[..., Service]
NEIGHBOURS = 12


def body(text: str) -> dict[str, Any]:
    """The echo answers it with one word, so it has ended or not begun when its worker dies."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 1}


async def ask(service: Service, texts: list[str]) -> list[httpx2.Response]:
    async with httpx2.AsyncClient(base_url=service.url, timeout=PATIENCE) as client:
        posts = (client.post("/v1/chat/completions", json=body(text)) for text in texts)
        return list(await asyncio.gather(*posts))


def test_who_kills_a_worker_is_found_and_its_neighbours_are_answered(start: Start) -> None:
    service = start(backend="echo", slots=NEIGHBOURS + 1).ready()
    texts = [f"neighbour {number}" for number in range(NEIGHBOURS)]
    *neighbours, guilty = asyncio.run(ask(service, [*texts, KILLER]))
    assert [answer.status_code for answer in neighbours] == [200] * NEIGHBOURS
    for answer in (guilty, *asyncio.run(ask(service, [KILLER] * 3))):
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "request_quarantined"
        assert "change it" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
    eventually(service.is_ready)
    log = "\n".join(service.log) + end(service)
    # Twice if it ran alone from the beginning. The repeats cost nothing.
    assert log.count("ended unexpectedly") in (2, 3)


def end(service: Service) -> str:
    service.process.terminate()
    return service.rest_of_log()


def test_a_model_that_cannot_be_loaded_is_left_alone_and_everyone_is_told_why(
    start: Start, place_model: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = place_model(tmp_path)
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(1000)
    service = start(model="").ready()
    for _ in range(3):
        (answer,) = asyncio.run(ask(service, ["Hello!"]))
        assert answer.json()["error"]["code"] == "model_load_failed"
        assert "not tried again" not in answer.text
    with httpx2.Client(base_url=service.url, timeout=PATIENCE) as client:
        (answer,) = asyncio.run(ask(service, ["Hello!"]))
        texts = [answer.json()["error"]["message"]]
        texts.append(client.get(f"/openai/load/{MODEL}").text)
        texts += client.get("/ready").json()["refused"].values()
        eventually(lambda: "loadError" in client.get(f"/v1/models/{MODEL}").json())
        texts.append(client.get(f"/v1/models/{MODEL}").json()["loadError"])
    cli = Cli({**os.environ, "CUPOLA_HOME": str(tmp_path)})
    texts.append(cli.ok("model", "info", MODEL))
    texts.append(json.loads(cli.ok("model", "info", MODEL, "-o", "json"))["loadError"])
    for text in texts:
        assert "model.onnx" in text and "not tried again" in text
