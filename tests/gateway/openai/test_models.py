"""GET /v1/models and the way from a name to a model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import openai
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.scheduler.protocol.messages import Status
from cupola.scheduler.protocol.status import Serving
from tests.default_model import DEFAULT_MODEL
from tests.gateway.running_gateway import HELLO, MODEL, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import WORKER, ScriptedScheduler

pytestmark = pytest.mark.slow


def test_list(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        body = http.get("/v1/models").json()
    assert body["object"] == "list"
    [entry] = body["data"]
    assert entry == {
        "id": MODEL_ID,
        "object": "model",
        "created": SMOLLM2_135M.created_at,
        "owned_by": SMOLLM2_135M.publisher,
        "parent": MODEL,
        "maxInputTokens": 8192,
        "maxOutputTokens": 8192,
        "toolCalling": False,
        "vision": False,
        "context_length": 8192,
        "loaded": False,
        "type": "model",
        "display_name": SMOLLM2_135M.display_name,
        "created_at": "2024-11-01T00:00:00Z",
    }
    assert (body["first_id"], body["last_id"], body["has_more"]) == (MODEL_ID, MODEL_ID, False)


def test_a_model_that_knows_tools(gateway: RunningGateway, home: Path) -> None:
    folder = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID)
    (folder / "chat_template.jinja").write_text("{{ tools }}[TOOL_CALLS]", "utf-8")
    with gateway.http() as http:
        assert http.get(f"/v1/models/{MODEL}").json()["toolCalling"] is True


def test_execution_provider(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        for ep, status in (("cpu", 200), ("cuda", 404)):
            answer = http.post("/v1/chat/completions", json=HELLO | {"ep": ep})
            assert answer.status_code == status
    assert answer.json()["error"]["param"] == "ep"


def test_official_client(gateway: RunningGateway) -> None:
    with gateway.openai() as client:
        assert [model.id for model in client.models.list()] == [MODEL_ID]
        assert client.models.retrieve(MODEL).id == MODEL_ID


@pytest.mark.parametrize("name", [MODEL, MODEL_ID, MODEL_ID.replace(":", "%3A"), MODEL.upper()])
def test_one(gateway: RunningGateway, name: str) -> None:
    with gateway.http() as http:
        assert http.get(f"/v1/models/{name}").json()["id"] == MODEL_ID


def test_loaded(gateway: RunningGateway, scheduler: ScriptedScheduler) -> None:
    worker = msgspec.structs.replace(WORKER, resident=(MODEL_ID,))
    scheduler.status = Status("first", workers=(worker,))
    with gateway.http() as http:
        while not http.get(f"/v1/models/{MODEL}").json()["loaded"]:
            pass


def test_the_engine_of_a_loaded_model(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    serving = {
        MODEL_ID: Serving(
            "onnxruntime-genai", "it is a test", kv_cache="int8", reproducible=True, kept_bytes=7
        )
    }
    worker = msgspec.structs.replace(WORKER, resident=(MODEL_ID,), serving=serving)
    scheduler.status = Status("first", workers=(worker,))
    with gateway.http() as http:
        while "engine" not in (entry := http.get(f"/v1/models/{MODEL}").json()):
            pass
    assert (entry["kvCache"], entry["keptBytes"]) == ("int8", 7)
    assert entry["reproducible"] is True
    assert (entry["engine"], entry["engineReason"]) == ("onnxruntime-genai", "it is a test")


def test_why_a_model_is_not_loaded_for_a_while(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    with gateway.http() as http:
        assert "loadError" not in http.get(f"/v1/models/{MODEL}").json()
        scheduler.status = Status("first", workers=(WORKER,), refused={MODEL_ID: "it is broken"})
        while "loadError" not in (entry := http.get(f"/v1/models/{MODEL}").json()):
            pass
    assert entry["loadError"] == "it is broken"


def test_what_an_import_measured(gateway: RunningGateway, home: Path) -> None:
    file = Home(home).model_folder(SMOLLM2_135M.publisher, MODEL_ID) / "quality.json"
    with gateway.http() as http:
        file.write_text('{"kl_divergence": 0.007, "tokens": 264}', "utf-8")
        entry = http.get(f"/v1/models/{MODEL}").json()
        assert entry["quality"] == {"kl_divergence": 0.007, "tokens": 264}
        file.write_text("damaged", "utf-8")
        assert "quality" not in http.get(f"/v1/models/{MODEL}").json()


@pytest.mark.parametrize("path", ["smolm2-135m", "a/b", "..%2f..%2fetc"])
def test_unknown(gateway: RunningGateway, path: str) -> None:
    with gateway.http() as http:
        answer = http.get(f"/v1/models/{path}")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_near_names(gateway: RunningGateway) -> None:
    with gateway.openai() as client, pytest.raises(openai.NotFoundError, match=MODEL):
        client.chat.completions.create(**HELLO | {"model": "smolm2-135m"})


def test_known_but_not_here(scheduler: ScriptedScheduler, tmp_path: Path) -> None:
    with RunningGateway(scheduler.endpoint, tmp_path) as gateway, gateway.openai() as client:
        with pytest.raises(openai.NotFoundError, match=f"cupola model download {DEFAULT_MODEL.id}"):
            client.chat.completions.create(**HELLO)
        assert client.models.list().data == []


def test_a_model_that_arrives_is_found(scheduler: ScriptedScheduler, home: Path) -> None:
    elsewhere = home / "elsewhere"
    (home / "cache").rename(elsewhere)
    with RunningGateway(scheduler.endpoint, home) as gateway, gateway.openai() as client:
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**HELLO)
        elsewhere.rename(home / "cache")
        assert client.chat.completions.create(**HELLO).model == MODEL_ID


def test_a_model_that_is_removed_is_forgotten_at_once(
    scheduler: ScriptedScheduler, gateway: RunningGateway, home: Path
) -> None:
    with gateway.http() as http:
        for name in (MODEL, MODEL_ID):
            body = HELLO | {"model": name}
            assert http.post("/v1/chat/completions", json=body).status_code == 200
        ModelCache(Home(home)).remove(MODEL)
        for name in (MODEL, MODEL_ID):
            body = HELLO | {"model": name}
            assert http.post("/v1/chat/completions", json=body).status_code == 404
