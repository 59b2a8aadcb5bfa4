"""/foundry/list and the other lists, read with the types of the strictest client of each field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx2
import msgspec
import pytest

from cupola.cache.catalog_file import built_in
from cupola.cache.home import Home
from tests.default_model import DEFAULT_MODEL
from tests.foundry.conftest import ALIAS, MODEL_ID, client, place
from tests.service.running_service import Service

pytestmark = pytest.mark.slow


class Runtime(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    device_type: Literal["CPU", "GPU", "NPU", "Invalid"]  # C#
    # Python 0.3 and Rust 0.1 know these four only.
    execution_provider: Literal[
        "CPUExecutionProvider",
        "WebGpuExecutionProvider",
        "CUDAExecutionProvider",
        "QNNExecutionProvider",
    ]


class PromptTemplate(msgspec.Struct, forbid_unknown_fields=True):
    system: str
    user: str
    assistant: str  # C# wants this one and the next
    prompt: str


class ModelInfo(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing is optional and nothing may be null."""

    name: str
    displayName: str
    modelType: str
    providerType: str
    uri: str
    version: str  # Python and Rust: text
    promptTemplate: PromptTemplate  # Python 0.3: an object
    publisher: str
    task: str
    runtime: Runtime
    fileSizeMb: int  # Rust: 32 bits
    modelSettings: dict[str, list[dict[str, str]]]
    alias: str
    supportsToolCalling: bool
    license: str
    licenseDescription: str
    parentModelUri: str
    maxOutputTokens: int  # C# and Rust: not null
    minFLVersion: str  # Rust 0.2: not null
    testModel: bool


def listed(http: httpx2.Client) -> list[ModelInfo]:
    answer = http.get("/foundry/list")
    assert answer.headers["content-type"] == "application/json"
    return msgspec.json.decode(answer.content, type=list[ModelInfo], strict=True)


def test_every_field_is_as_the_strictest_client_wants_it(http: httpx2.Client) -> None:
    [model] = [model for model in listed(http) if model.name == MODEL_ID]
    assert model.alias == ALIAS
    assert model.version == "1"
    assert model.uri.endswith(f"/models/{DEFAULT_MODEL.name}/versions/1")
    assert model.providerType == "AzureFoundry"
    assert model.modelType == "ONNX"
    assert model.modelSettings == {"parameters": []}
    assert model.publisher == DEFAULT_MODEL.publisher
    assert 0 < model.maxOutputTokens < 2**31
    assert 0 < model.fileSizeMb < 2**31


def test_ids_of_cached_models_are_in_the_list(http: httpx2.Client) -> None:
    cached = http.get("/openai/models").json()
    assert cached == [MODEL_ID]
    assert set(cached) <= {model.name for model in listed(http)}


def test_a_model_that_is_not_downloaded_is_listed_but_not_cached(
    bare: Service,
) -> None:
    with client(bare) as http:
        assert {model.name for model in listed(http)} == {variant.id for variant in built_in()}
        assert http.get("/openai/models").json() == []


def test_a_model_that_is_not_downloaded_tells_whether_it_calls_tools(http: httpx2.Client) -> None:
    calls = {model.alias: model.supportsToolCalling for model in listed(http)}
    assert calls["qwen3-4b"] and not calls["bge-small-en-v1.5"]


def test_an_alias_of_the_operators(start: Callable[..., Service], tmp_path: Path) -> None:
    place(tmp_path, MODEL_ID, DEFAULT_MODEL.publisher)
    with client(start(aliases=f"gpt-4o-mini={ALIAS}")) as http:
        asked = {"model": "GPT-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        assert http.post("/v1/chat/completions", json=asked).status_code == 200


BEST_FIRST = [
    ("phi-openvino-gpu:1", "cuda"),
    ("phi-cuda-gpu:2", "cuda"),
    ("phi-generic-gpu:9", "cuda"),
    ("phi-generic-gpu:8", "cuda"),
    ("phi-openvino-cpu:1", "cpu"),
    ("phi-generic-cpu:7", "cpu"),
    ("phi:1", "cpu"),
]


def phis(http: httpx2.Client) -> list[str]:
    return [model.name for model in listed(http) if model.name.startswith("phi")]


def test_the_order_is_the_order_in_which_clients_take_the_first_of_an_alias(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    for model_id, provider in sorted(BEST_FIRST):
        place(tmp_path, model_id, provider=provider)
    with client(start(workers="cpu,cuda")) as http:
        assert phis(http) == http.get("/openai/models").json()
        assert phis(http) == [model_id for model_id, _ in BEST_FIRST]
        assert http.get("/v1/models/phi").json()["id"] == "phi:1"  # a name goes before an alias


def test_variants_that_no_worker_runs_are_neither_listed_nor_meant(bare: Service) -> None:
    for model_id, provider in [("phi-cuda-gpu:2", "cuda"), ("phi-generic-cpu:7", "cpu")]:
        place(bare.home, model_id, provider=provider)
    place(bare.home, "gpt-qnn-npu:1", provider="qnn")
    with client(bare) as http:
        assert phis(http) == ["phi-generic-cpu:7"] == http.get("/openai/models").json()
        assert http.get("/openai/load/phi?ttl=600").status_code == 200
        assert http.get("/openai/loadedmodels").json() == ["phi-generic-cpu:7"]
        assert http.get("/openai/load/phi-cuda-gpu:2").status_code == 503
        assert http.get("/openai/load/gpt").status_code == 503


def test_the_variant_that_is_there_wins_over_a_better_one_that_is_not(
    http: httpx2.Client, bare: Service
) -> None:
    place(bare.home, "smollm2-135m-slow-cpu:1")
    description = Home(bare.home).model_folder("Microsoft", "smollm2-135m-slow-cpu:1")
    (description / "inference_model.json").write_text(
        json.dumps({"Name": "smollm2-135m-slow-cpu:1", "Alias": ALIAS})
    )
    with client(bare) as http:
        names = [model.name for model in listed(http) if model.alias == ALIAS]
        assert {MODEL_ID, "smollm2-135m-slow-cpu:1"} <= set(names)
        assert http.get(f"/v1/models/{ALIAS}").json()["id"] == "smollm2-135m-slow-cpu:1"


PLAIN = ("{Content}", "{Content}")
TEMPLATES: list[tuple[object, tuple[str, str]]] = [
    ({"system": "S{Content}", "user": "U{Content}"}, ("S{Content}", "U{Content}")),
    (None, PLAIN),
    ("text", PLAIN),
    ({"system": 5, "other": "x"}, PLAIN),
]


def test_the_prompt_template_of_the_folder(bare: Service) -> None:
    for number, (given, _) in enumerate(TEMPLATES):
        name = f"phi-{number}:1"
        place(bare.home, name)
        description = Home(bare.home).model_folder("Microsoft", name) / "inference_model.json"
        description.write_text(json.dumps({"Name": name, "PromptTemplate": given}))
    with client(bare) as http:
        templates = {model.name: model.promptTemplate for model in listed(http)}
    for number, (given, expected) in enumerate(TEMPLATES):
        template = templates[f"phi-{number}:1"]
        assert (template.system, template.user) == expected, given


def test_models_with_a_chat_template_can_call_tools(bare: Service) -> None:
    """Those of the catalog have one before they are downloaded."""
    place(bare.home, "phi:1")
    place(bare.home, "base:1")
    folder = Home(bare.home).model_folder("Microsoft", "phi:1")
    (folder / "chat_template.jinja").write_text(
        "{% if tools %}<tool_call>{{ tools }}</tool_call>{% endif %}{{ messages }}"
    )
    with client(bare) as http:
        knows = {model.name: model.supportsToolCalling for model in listed(http)}
        assert knows == {
            variant.id: variant.task == "chat-completion" for variant in built_in()
        } | {
            "phi:1": True,
            "base:1": False,
        }
        assert http.get("/v1/models/phi:1").json()["toolCalling"] is True


@pytest.mark.parametrize("name", [MODEL_ID, MODEL_ID.upper(), ALIAS, MODEL_ID.rpartition(":")[0]])
def test_v1_models_knows_every_name(http: httpx2.Client, name: str) -> None:
    body = http.get(f"/v1/models/{name}").json()
    assert body["id"] == MODEL_ID
    assert {"object", "created", "owned_by", "parent", "maxInputTokens", "maxOutputTokens"} <= set(
        body
    )
    assert (body["toolCalling"], body["vision"]) in {(False, False), (True, False)}
