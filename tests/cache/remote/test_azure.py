"""Azure's catalog of Foundry Local: its entries, pages, regions and files, in both generations."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import onnx
import pytest

from cupola.cache.catalog import (
    AzureSource,
    DeviceType,
    ExecutionProvider,
    ModelVariant,
    UnknownModelError,
)
from cupola.cache.catalog_sources import AZURE, copy_of
from cupola.cache.errors import FetchError, HashMismatchError, NotFoundError
from cupola.cache.home import Home
from cupola.cache.install.install import install
from cupola.cache.remote.azure import Azure
from cupola.cache.remote.azure_records import variant_of
from cupola.cache.remote.operator_catalogs import refresh, variants_to_download
from cupola.cache.store import ModelCache
from tests import faulty_server as faults
from tests.azure_server import GALLERY, REGISTRY, AzureServer, azure_server, flat, nested, uri_of

NAME = "phi-4-mini-generic-cpu"
CONFIG = {"model": {"type": "phi3", "context_length": 4096}, "search": {"max_length": 4096}}
GRAPH = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])).SerializeToString()
FILES = {
    "v4/genai_config.json": json.dumps(CONFIG).encode(),
    "v4/model.onnx": GRAPH,
    "v4/model.onnx.data": bytes(range(256)) * 400,
    "v4/tokenizer.json": b"{}",
    "v4/inference_model.json": b"another program's",
}


@pytest.fixture
def azure() -> Iterator[AzureServer]:
    with azure_server() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, azure: AzureServer) -> Home:
    for name, value in azure.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUPOLA_CATALOGS", "azure")
    return Home(tmp_path / "home")


def variants(azure: AzureServer, *, older: bool = False) -> list[ModelVariant]:
    return anyio.run(Azure(azure.environment(older=older)).variants)


@pytest.mark.parametrize("form", [flat, nested])
def test_an_entry(form: Any) -> None:
    variant = variant_of(form(NAME), "westus2")
    assert variant == ModelVariant(
        id=f"{NAME}:4",
        alias="phi-4-mini",
        display_name="Phi-4-Mini-Generic-Cpu",
        publisher="Microsoft",
        license="MIT",
        file_size_mb=3500,
        context_length=32768 if form is flat else 0,
        max_output_tokens=4096,
        created_at=1768473000,
        source=AzureSource(uri_of(NAME, 4), "westus2"),
        tags=("chat", "tools", "reasoning"),
    )


def test_an_accelerators_variant() -> None:
    variant = variant_of(flat("phi-cuda-gpu", "gpu", "CUDAExecutionProvider"))
    assert variant is not None
    assert (variant.provider, variant.device) == (ExecutionProvider.CUDA, DeviceType.GPU)


@pytest.mark.parametrize(
    "change",
    [
        {"assetId": ""},
        {"name": "../up"},
        {"name": 3},
        {"name": ""},
        {"variantInformation": None},  # the family
        {"variantInformation": {"variantMetadata": {"device": "tpu"}}},
        {"variantInformation": {"variantMetadata": {"executionProvider": "Abacus"}}},
    ],
)
def test_what_is_no_model_is_left_out(change: dict[str, Any]) -> None:
    assert variant_of(flat(NAME) | change) is None
    assert variant_of("text") is None


@pytest.mark.parametrize(
    "change",
    [
        {"alias": "\x1b[2J", "version": "many", "modelLimits": [], "createdTime": "yesterday"},
        {"modelLimits": {"textLimits": {"inputContextWindow": -1}}, "inferenceTasks": 3},
        {"modelCapabilities": [None], "publisher": "../..", "license": 3},
    ],
)
def test_odd_fields_cost_only_themselves(change: dict[str, Any]) -> None:
    variant = variant_of(flat(NAME) | change)
    assert variant is not None
    assert variant.alias.isprintable() and variant.publisher in ("Microsoft", "azureml")


@pytest.mark.parametrize("older", [False, True])
def test_all_pages_of_all_devices(azure: AzureServer, older: bool) -> None:
    form = nested if older else flat
    names = [f"m{number}-generic-cpu" for number in range(5)]
    azure.entries = [form(name) for name in names]
    azure.entries += [form("m0-cuda-gpu", "gpu", "CUDAExecutionProvider")]
    found = variants(azure, older=older)
    assert {variant.name for variant in found} == {*names, "m0-cuda-gpu"}
    wanted = [body.get("indexEntitiesRequest", body) for body in azure.bodies]
    fields = {filter["field"] for body in wanted for filter in body["filters"]}
    assert ("labels" in fields) == older and ("DeploymentOptions" in fields) != older
    assert {variant.source.region for variant in found} == (  # type: ignore[union-attr]
        {"centralus"} if older else {"westus2"}
    )


def test_patience_and_its_end(azure: AzureServer) -> None:
    azure.entries = [flat(NAME)]
    azure.site.faults[GALLERY] = [faults.status(503), faults.status(429), faults.hang_up]
    assert [variant.name for variant in variants(azure)] == [NAME]
    azure.site.faults[GALLERY] = [faults.status(503)] * 100
    with pytest.raises(FetchError, match="503"):
        variants(azure)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"value": 3}', b'{"indexEntitiesResponse": []}'])
def test_another_server_is_named(azure: AzureServer, body: bytes) -> None:
    def give(request: faults.Request) -> None:
        request.answer(200, {"Content-Length": str(len(body))}, body)

    azure.site.answers[GALLERY] = give
    with pytest.raises(FetchError, match="does not answer as Azure's catalog"):
        variants(azure)


def test_nothing_is_asked_before_a_refresh(home: Home, azure: AzureServer) -> None:
    azure.entries = [flat(NAME)]
    assert not [v for v in ModelCache(home).catalog() if v.name == NAME]
    assert azure.site.requests == []
    assert refresh(["azure"], home) == []
    assert AzureSource in {type(v.source) for v in ModelCache(home).catalog().find("phi-4-mini")}
    asked = len(azure.site.requests)
    assert [v for v in ModelCache(home).catalog() if v.name == NAME]
    assert len(azure.site.requests) == asked
    azure.site.faults[GALLERY] = [faults.status(400)] * 9
    [trouble] = refresh(["azure"], home)
    assert trouble.startswith("azure: ")
    assert [v for v in ModelCache(home).catalog() if v.name == NAME]  # the copy stays


@pytest.mark.parametrize("hours", [3.9, 4.1, -1.0])
def test_an_old_copy_is_made_anew_before_a_download(
    home: Home, azure: AzureServer, hours: float
) -> None:
    azure.entries = [flat(NAME)]
    cache, copy = ModelCache(home), copy_of(AZURE, home)
    assert refresh(["azure"], home) == []
    age = time.time() - hours * 3600
    os.utime(copy, (age, age))
    azure.site.requests.clear()
    [*_, other] = cache.catalog().find("smollm2-135m")
    assert variants_to_download(cache, other.id)  # no model of Azure's
    assert azure.site.requests == []
    assert [v.id for v in variants_to_download(cache, NAME)] == [f"{NAME}:4"]
    assert bool(azure.site.requests) == (not 0 < hours < 4)


def test_an_old_copy_counts_where_azure_gives_no_answer(home: Home, azure: AzureServer) -> None:
    azure.entries = [flat(NAME)]
    assert refresh(["azure"], home) == []
    os.utime(copy_of(AZURE, home), (1, 1))
    azure.site.faults[GALLERY] = [faults.status(400)] * 9
    assert [v.id for v in variants_to_download(ModelCache(home), NAME)] == [f"{NAME}:4"]
    copy_of(AZURE, home).unlink()
    with pytest.raises(UnknownModelError):
        variants_to_download(ModelCache(home), NAME)  # never asked for: Azure stays unasked


def test_what_foundry_local_has_noted_can_be_had(home: Home) -> None:
    home.models.mkdir(parents=True)
    entry = {
        "name": f"{NAME}:4", "alias": "phi-4-mini", "uri": uri_of(NAME, 4), "fileSizeMb": 3500,
        "runtime": {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"},
    }  # fmt: skip
    home.foundry_catalog.write_text(json.dumps([entry, entry | {"name": "../up"}]))
    [variant] = [v for v in ModelCache(home).catalog() if v.name == NAME]
    assert variant.source == AzureSource(uri_of(NAME, 4))


def test_a_model_is_installed(home: Home, azure: AzureServer) -> None:
    azure.add_model(flat(NAME), FILES)
    assert refresh(["azure"], home) == []
    [variant] = [v for v in ModelCache(home).catalog() if v.name == NAME]
    model = install(variant, home)
    assert model.variant.id == f"{NAME}:4"
    assert model.path == home.models / "Microsoft" / f"{NAME}-4"
    assert (model.path / "model.onnx.data").read_bytes() == FILES["v4/model.onnx.data"]
    assert json.loads((model.path / "inference_model.json").read_text())["Name"] == f"{NAME}:4"
    assert model.source is not None and model.source.address == uri_of(NAME, 4)
    written = b"".join(path.read_bytes() for path in home.root.rglob("*") if path.is_file())
    assert b"s3cret" not in written  # the signature opens the storage


def test_a_download_goes_on_with_another_signature(home: Home, azure: AzureServer) -> None:
    azure.add_model(flat(NAME), FILES)
    variant = variant_of(flat(NAME))
    assert variant is not None
    [place] = [file.url for file in files(azure) if file.path.endswith(".data")]
    path = place.removeprefix(azure.site.url).replace("s3cret1", "s3cret2")
    azure.site.faults[path] = [faults.cut_blob(FILES["v4/model.onnx.data"], 5000)]
    azure.site.faults[path] += [faults.status(400)] * 9
    with pytest.raises(FetchError):
        install(variant, home)
    left = b"".join(each.read_bytes() for each in home.downloads.rglob("*.json"))
    assert b"pieces" in left and b"s3cret" not in left
    assert install(variant, home).variant.id == f"{NAME}:4"


def test_a_damaged_file_is_not_used(home: Home, azure: AzureServer) -> None:
    azure.add_model(flat(NAME), FILES)
    variant = variant_of(flat(NAME))
    assert variant is not None
    files(azure)
    [at] = [path for path in azure.site.answers if path.endswith("model.onnx")]
    real = azure.site.answers

    def damaged(request: faults.Request) -> None:
        request.give(GRAPH[::-1], etag='"0x8D"')

    registry = real[REGISTRY]

    def answer(request: faults.Request) -> None:
        registry(request)
        azure.site.answers[at] = damaged

    azure.site.answers[REGISTRY] = answer
    with pytest.raises(HashMismatchError):
        install(variant, home)
    assert ModelCache(home).scan() == []


def files(azure: AzureServer) -> list[Any]:
    return anyio.run(partial(Azure(azure.environment()).files, uri_of(NAME, 4)))


def test_the_next_region_is_asked(azure: AzureServer) -> None:
    azure.add_model(flat(NAME), FILES)
    environment = azure.environment() | {"AZURE_REGISTRY_ENDPOINT": azure.site.url + "/{region}"}
    for region in ("westus2", "eastus"):
        azure.site.answers[f"/{region}{REGISTRY}"] = azure.site.answers[REGISTRY]
        path = f"/{region}{REGISTRY}?assetId={uri_of(NAME, 4)}".replace(":", "%3A")
        path = path.partition("=")[0] + "=" + path.partition("=")[2].replace("/", "%2F")
        azure.site.faults[path] = [faults.status(503)] * 9 if region == "westus2" else []
    centralus = f"/centralus{REGISTRY}"
    azure.site.answers[centralus] = lambda request: request.answer(429, {"Content-Length": "0"})
    found = anyio.run(partial(Azure(environment).files, uri_of(NAME, 4), "westus2"))
    assert {file.path for file in found} == {*FILES} - {"v4/inference_model.json"}
    with pytest.raises(NotFoundError):
        anyio.run(partial(Azure(environment).files, uri_of("none"), "eastus"))


@pytest.mark.parametrize("body", [b"<", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_a_listing_that_is_none(azure: AzureServer, body: bytes) -> None:
    azure.add_model(flat(NAME), FILES)
    files(azure)
    registry = azure.site.answers[REGISTRY]

    def answer(request: faults.Request) -> None:
        registry(request)
        [at] = [path for path in azure.site.answers if len(path) == 9]
        azure.site.answers[at] = lambda each: each.answer(
            200, {"Content-Length": str(len(body))}, body
        )

    azure.site.answers[REGISTRY] = answer
    with pytest.raises(FetchError, match="does not list the files"):
        files(azure)
