"""/foundry/list and the other lists, read with the types of the strictest client of each field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx2
import msgspec
import pytest

from cupola.cache.catalog import SMOLLM2_135M
from tests.foundry.conftest import ALIAS, MODEL_ID, client, place
from tests.service.running_service import Service


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
    [model] = listed(http)
    assert model.name == MODEL_ID
    assert model.alias == ALIAS
    assert model.version == "1"
    assert model.uri.endswith("/models/smollm2-135m-instruct-generic-cpu/versions/1")
    assert model.providerType == "AzureFoundry"
    assert model.modelType == "ONNX"
    assert model.modelSettings == {"parameters": []}
    assert model.publisher == SMOLLM2_135M.publisher
    assert 0 < model.maxOutputTokens < 2**31
    assert 0 < model.fileSizeMb < 2**31


def test_ids_of_cached_models_are_in_the_list(http: httpx2.Client) -> None:
    cached = http.get("/openai/models").json()
    assert cached == [MODEL_ID]
    assert set(cached) <= {model.name for model in listed(http)}


def test_a_model_that_is_not_downloaded_is_listed_but_not_cached(
    start: Callable[..., Service],
) -> None:
    with client(start()) as http:
        assert [model.name for model in listed(http)] == [MODEL_ID]
        assert http.get("/openai/models").json() == []


def test_the_order_is_the_order_in_which_clients_take_the_first_of_an_alias(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    best_first = [
        ("phi-qnn-npu:3", "qnn"),
        ("phi-openvino-gpu:1", "cuda"),
        ("phi-cuda-gpu:2", "cuda"),
        ("phi-generic-gpu:9", "webgpu"),
        ("phi-generic-gpu:8", "webgpu"),
        ("phi-openvino-cpu:1", "cpu"),
        ("phi-generic-cpu:7", "cpu"),
        ("phi:1", "cpu"),
    ]
    for model_id, provider in sorted(best_first):
        place(tmp_path, model_id, provider=provider)
    with client(start()) as http:
        names = [model.name for model in listed(http) if model.name != MODEL_ID]
    assert names == [model_id for model_id, _ in best_first]


@pytest.mark.parametrize("name", [MODEL_ID, MODEL_ID.upper(), ALIAS, MODEL_ID.rpartition(":")[0]])
def test_v1_models_knows_every_name(http: httpx2.Client, name: str) -> None:
    body = http.get(f"/v1/models/{name}").json()
    assert body["id"] == MODEL_ID
    assert {"object", "created", "owned_by", "parent", "maxInputTokens", "maxOutputTokens"} <= set(
        body
    )
    assert (body["toolCalling"], body["vision"]) in {(False, False), (True, False)}
