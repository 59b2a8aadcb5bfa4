"""An unloaded model gives its memory back to the system; the real model, seen by psutil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.foundry.conftest import MODEL_ID, client
from tests.service.conftest import place_model
from tests.service.running_service import Service

__all__ = ["place_model"]
ENOUGH = 0.7  # of what the load has added
BODY = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Tell me a story."}]}


@pytest.mark.parametrize("rounds", [3])
def test_memory_is_given_back(
    start: Callable[..., Service],
    place_model: Callable[[Path], Path],
    tmp_path: Path,
    rounds: int,
) -> None:
    place_model(tmp_path)
    service = start(backend="onnx")
    worker = service.child("worker cpu:0/0")
    with client(service) as http:
        http.get(f"/openai/load/{MODEL_ID}")  # the first load also brings the runtime's code
        http.get(f"/openai/unload/{MODEL_ID}?force=true")
        empty = worker.memory_info().rss
        for _ in range(rounds):
            http.get(f"/openai/load/{MODEL_ID}?ttl=600")
            answer = http.post("/v1/chat/completions", json=BODY | {"max_tokens": 20})
            counted = http.post("/v1/chat/completions/tokenizer/encode/count", json=BODY)
            assert counted.json() == {"tokenCount": answer.json()["usage"]["prompt_tokens"]}
            full = worker.memory_info().rss
            http.get(f"/openai/unload/{MODEL_ID}?force=true")
            assert http.get("/openai/loadedmodels").json() == []
            left = worker.memory_info().rss
            print(f"empty {empty >> 20} MB, loaded {full >> 20} MB, unloaded {left >> 20} MB")
            assert full - left >= ENOUGH * (full - empty)
