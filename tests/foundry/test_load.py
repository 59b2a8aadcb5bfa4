"""Load and unload by command, in the words of every generation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.foundry.conftest import ALIAS, MODEL_ID, client, place
from tests.service.running_service import Service, eventually

pytestmark = pytest.mark.slow

NAMES = [
    MODEL_ID,
    ALIAS,
    MODEL_ID.rpartition(":")[0],
    MODEL_ID.upper(),
    MODEL_ID.replace(":", "%3A"),
]


def loaded(http: httpx2.Client) -> list[str]:
    models = http.get("/openai/loadedmodels").json()
    assert isinstance(models, list)
    return models


def get(http: httpx2.Client, path: str) -> None:
    """A command whose answer is empty."""
    answer = http.get(path)
    assert (answer.status_code, answer.content) == (200, b"")


# -- generation A ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_name_loads_and_unloads(http: httpx2.Client, name: str) -> None:
    get(http, f"/openai/load/{name}")
    assert loaded(http) == [MODEL_ID]
    get(http, f"/openai/unload/{name}")
    assert loaded(http) == []


@pytest.mark.parametrize("query", [
    "ttl=600&ep=",  # Python 0.5
    "ttl=600",  # JS, Rust
    "ttl=600&ep=cpu",
    "ttl=600&ep=CPUExecutionProvider",
    "timeout=600",  # C#
    "ttl=&timeout=600&unload=",
    "ttl=600&unload=false",  # a ttl above 0 wins
])  # fmt: skip
def test_a_time_wins_over_an_unload_without_force(http: httpx2.Client, query: str) -> None:
    get(http, f"/openai/load/{MODEL_ID}?{query}")
    get(http, f"/openai/unload/{MODEL_ID}?force=false")
    assert loaded(http) == [MODEL_ID]
    get(http, f"/openai/unload/{MODEL_ID}?force=true")
    assert loaded(http) == []


@pytest.mark.parametrize(
    "query", ["", "ttl=&ep=", "unload=false", "unload=true", "ttl=0", "ttl=-1"]
)
def test_without_a_time_an_unload_needs_no_force(http: httpx2.Client, query: str) -> None:
    get(http, f"/openai/load/{MODEL_ID}?{query}")
    get(http, f"/openai/unload/{MODEL_ID}?force=false")
    assert loaded(http) == []


def test_a_short_time_ends(http: httpx2.Client) -> None:
    get(http, f"/openai/load/{MODEL_ID}?ttl=1")
    assert loaded(http) == [MODEL_ID]
    eventually(lambda: loaded(http) == [])


def test_unload_of_what_is_not_loaded_changes_nothing(bare: Service) -> None:
    for name in ("idle", "busy"):
        place(bare.home, f"{name}-generic-cpu:1")
    with client(bare) as http:
        get(http, "/openai/load/busy")
        for force in ("true", "false"):
            get(http, f"/openai/unload/idle?force={force}")
            assert loaded(http) == ["busy-generic-cpu:1"]
            assert http.get(f"/openai/unload/nothing?force={force}").status_code == 404
            assert loaded(http) == ["busy-generic-cpu:1"]


@pytest.mark.parametrize("name", ["phi-4-mini", "a/b", "..%2F..%2Fetc%2Fpasswd", "%00"])
def test_the_text_that_sdks_look_for(http: httpx2.Client, name: str) -> None:
    answer = http.get(f"/openai/load/{name}?ttl=600")
    assert answer.status_code == 404
    assert "No OpenAIService provider found for modelName" in answer.text


def test_a_model_that_is_known_but_not_downloaded(bare: Service) -> None:
    with client(bare) as http:
        answer = http.get(f"/openai/load/{MODEL_ID}")
        assert answer.status_code == 404
        assert "No OpenAIService provider found for modelName" in answer.text
        answer = http.get(f"/models/load/{ALIAS}")
        assert answer.status_code == 400
        text = "Model not cached: Model must be downloaded before loading"
        assert answer.json()["error"]["message"] == text


@pytest.mark.parametrize(("query", "param"), [
    ("ttl=abc", "ttl"), ("ttl=nan", "ttl"), ("ttl=-5", "ttl"), ("timeout=1e999", "timeout"),
    ("unload=maybe", "unload"), ("ep=tpu", "ep"),
])  # fmt: skip
def test_values_that_cannot_be(http: httpx2.Client, query: str, param: str) -> None:
    answer = http.get(f"/openai/load/{MODEL_ID}?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("ep", ["cuda", "WebGpuExecutionProvider", "openvino", "tpu", "no such"])
def test_a_provider_that_is_not_here_is_refused_alike_at_load_and_in_requests(
    http: httpx2.Client, ep: str
) -> None:
    """By all that takes ``ep``: same status, same text, and nothing is loaded."""
    user = {"role": "user", "content": "Hello!"}
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [user]},
        "/v1/completions": {"prompt": "Hello!"},
        "/v1/responses": {"input": "Hello!"},
    }
    refusal = http.get(f"/openai/load/{ALIAS}", params={"ttl": "600", "ep": ep})
    assert refusal.status_code in (400, 404)
    assert refusal.json()["error"]["param"] == "ep"
    for path, body in bodies.items():
        answer = http.post(path, json={"model": ALIAS, "ep": ep, **body})
        assert (answer.status_code, answer.json()) == (refusal.status_code, refusal.json())
    assert loaded(http) == []


def test_an_empty_provider_is_none(http: httpx2.Client) -> None:
    get(http, f"/openai/load/{ALIAS}?ep=")
    body = {"model": ALIAS, "ep": "", "prompt": "Hello!"}
    assert http.post("/v1/completions", json=body).status_code == 200


def test_unload_all(bare: Service) -> None:
    for number in (1, 2, 3):
        place(bare.home, f"m{number}-generic-cpu:1")
    with client(bare) as http:
        for number in (1, 2, 3):
            get(http, f"/openai/load/m{number}?ttl=600")
        assert loaded(http) == [f"m{number}-generic-cpu:1" for number in (1, 2, 3)]
        get(http, "/openai/unloadall")
        assert loaded(http) == []


# -- generations B, C and D ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_load_and_unload_tell_what_they_did(http: httpx2.Client, name: str) -> None:
    def status(path: str) -> object:
        return http.get(f"/models/{path}/{name}").json()

    assert status("load") == {"status": "loaded"}
    assert status("load") == {"status": "already_loaded"}
    assert http.get("/models/loaded").json() == loaded(http) == [MODEL_ID]
    assert status("unload") == {"status": "unloaded"}
    assert status("unload") == {"status": "not_loaded"}
    assert loaded(http) == []


def test_a_model_that_cannot_be_loaded(start: Callable[..., Service], tmp_path: Path) -> None:
    place(tmp_path, "broken-generic-cpu:1")
    with client(start(backend="onnx")) as http:
        answer = http.get("/models/load/broken-generic-cpu")
        assert answer.status_code == 500
        error = answer.json()["error"]
        assert error["message"].startswith("Load failed: ")
        assert error["type"] == "server_error"
        assert http.get("/openai/load/broken-generic-cpu").status_code == 500
        assert loaded(http) == []


@pytest.mark.parametrize("path", ["load", "unload"])
def test_a_model_that_does_not_exist(http: httpx2.Client, path: str) -> None:
    answer = http.get(f"/models/{path}/x")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["message"] == "Model not found: No model matching 'x'"
    assert error["type"] == "invalid_request_error"


# -- on demand, at the start, for good -------------------------------------------------------------


def test_a_request_loads_what_it_needs_and_says_for_how_long(http: httpx2.Client) -> None:
    body = {"model": ALIAS, "messages": [{"role": "user", "content": "hi"}]}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    assert loaded(http) == [MODEL_ID]
    assert http.post("/v1/chat/completions", json=body | {"ttl": 0}).status_code == 200
    eventually(lambda: loaded(http) == [])


def test_preloaded_and_pinned_models(start: Callable[..., Service], tmp_path: Path) -> None:
    for name in ("first", "second", "pinned"):
        place(tmp_path, f"{name}-generic-cpu:1")
    service = start(model="first", preload="second,nothing", pinned="Pinned", model_ttl=2)
    with client(service) as http:
        eventually(lambda: loaded(http) == ["pinned-generic-cpu:1"])
        get(http, "/openai/unload/pinned?force=false")
        assert loaded(http) == ["pinned-generic-cpu:1"]
        get(http, "/openai/unload/pinned?force=true")
        assert loaded(http) == []
    log = "\n".join(service.log)
    assert "'nothing'" in log
