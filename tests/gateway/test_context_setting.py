"""The setting ``context`` in all that tells how long a prompt may be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from cupola.scheduler.protocol.messages import Outputs, Status, Submit
from cupola.scheduler.protocol.outputs import Output, Usage
from tests.gateway.running_gateway import MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import WORKER, ScriptedScheduler

OWN = 8192  # of the model


def shown(http: httpx2.Client) -> Any:
    info = http.post("/api/show", json={"model": MODEL}).json()["model_info"]
    return next(value for name, value in info.items() if name.endswith(".context_length"))


TELLERS: dict[str, Callable[[httpx2.Client], Any]] = {
    "the list": lambda http: http.get("/v1/models").json()["data"][0]["context_length"],
    "its input": lambda http: http.get("/v1/models").json()["data"][0]["maxInputTokens"],
    "its output": lambda http: http.get("/v1/models").json()["data"][0]["maxOutputTokens"],
    "one model": lambda http: http.get(f"/v1/models/{MODEL}").json()["context_length"],
    "show": shown,
    "ps": lambda http: http.get("/api/ps").json()["models"][0]["context_length"],
    "catalog": lambda http: next(
        model["maxOutputTokens"]
        for model in http.get("/foundry/list").json()
        if model["name"] == MODEL_ID
    ),
    "tokenize": lambda http: http.post("/tokenize", json={"model": MODEL, "prompt": "Hi"}).json()[
        "max_model_len"
    ],
}


@pytest.mark.parametrize("teller", TELLERS)
@pytest.mark.parametrize(("context", "told"), [(0, OWN), (512, 512), (100_000, OWN)])
def test_the_context_that_is_served_is_told(
    home: Path, teller: str, context: int, told: int
) -> None:
    def script(message: Any) -> Any:
        if isinstance(message, Submit):
            yield Outputs((Output(message.request_id, usage=Usage(1, 0), tokens=(1,)),))

    worker = msgspec.structs.replace(WORKER, resident=(MODEL_ID,))
    status = Status("first", workers=(worker,))
    with (
        ScriptedScheduler(script=script, status=status) as scheduler,
        RunningGateway(scheduler.endpoint, home, context=context) as gateway,
        gateway.http() as http,
    ):
        assert TELLERS[teller](http) == told
