"""An unloaded model gives its memory back to the system; the real model, seen by psutil."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.foundry.conftest import MODEL_ID, client
from tests.service.conftest import place_model
from tests.service.running_service import Service

pytestmark = pytest.mark.slow

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
    service = start(backend="onnx", lean=False, warm_up="no")
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
            # A second layout of the weights may still be in the making, in a thread of its own.
            left = at_most(full - ENOUGH * (full - empty), worker)
            print(f"empty {empty >> 20} MB, loaded {full >> 20} MB, unloaded {left >> 20} MB")
            assert full - left >= ENOUGH * (full - empty)


def at_most(wanted: float, process: psutil.Process) -> int:
    """Bytes that are resident when it is no more than ``wanted``, or ten seconds are over."""
    until = time.monotonic() + 10
    while (found := process.memory_info().rss) > wanted and time.monotonic() < until:
        time.sleep(0.05)
    return int(found)
