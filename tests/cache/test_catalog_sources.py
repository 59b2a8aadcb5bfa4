"""Which models a catalog of several sources has, and what its names mean."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.cache.catalog import (
    SMOLLM2_135M,
    ExecutionProvider,
    HubSource,
    ModelVariant,
    UnknownModelError,
)
from cupola.cache.catalog_settings import CatalogSettings, read_catalog_settings
from cupola.cache.catalog_sources import FixedSource, copy_of, merged
from cupola.cache.home import Home
from cupola.cache.remote.operator_catalogs import refresh
from cupola.cache.store import ModelCache
from tests import faulty_server as faults
from tests.faulty_server import Site


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("CUPOLA_CATALOGS", "CUPOLA_ALIASES", "CUPOLA_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path / "home")
    home.root.mkdir()
    return home


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def catalog(*models: dict[str, Any]) -> bytes:
    return json.dumps({"models": models}).encode()


OWN = {"alias": "ours", "repository": "Firm/Own-GGUF", "part": "Q8_0", "license": "own"}
QWEN = {"alias": "qwen2.5-1.5b", "repository": "Firm/Tuned-Qwen-GGUF", "name": "tuned-qwen"}


def named(variant_id: str, alias: str, license: str = "") -> ModelVariant:
    return msgspec.structs.replace(SMOLLM2_135M, id=variant_id, alias=alias, license=license)


class Owner(FixedSource):
    owns_aliases = True


def test_the_first_source_wins() -> None:
    disk = FixedSource([named("a-cpu:1", "a", "disk")])
    own = Owner([named("a-cpu:1", "a", "own"), named("b-cpu:1", "b", "own")])
    rest = FixedSource(
        [named("b-cpu:2", "b", "rest"), named("a-gpu:1", "a"), named("c-cpu:1", "c")]
    )
    found = {variant.id: variant.license for variant in merged([disk, own, rest])}
    assert found == {"a-cpu:1": "disk", "b-cpu:1": "own", "c-cpu:1": ""}


def test_without_an_owner_variants_of_an_alias_come_together() -> None:
    first, second = FixedSource([named("a-cpu:1", "a")]), FixedSource([named("a-gpu:1", "a")])
    assert [v.id for v in merged([first, second]).find("a")] == ["a-gpu:1", "a-cpu:1"]


def test_an_operators_file(home: Home) -> None:
    (home.root / "own.json").write_bytes(catalog(OWN, QWEN))
    home.settings_file.write_text('catalogs = ["own.json"]\n[aliases]\ngpt-4o-mini = "Ours"\n')
    found = ModelCache(home).catalog()
    [ours] = found.find("ours")
    assert ours.source == HubSource("Firm/Own-GGUF", "main", "Q8_0")
    assert ours.publisher == "Firm" and ours.license == "own"
    assert found.find("GPT-4o-mini") == [ours]
    assert [variant.id for variant in found.find("qwen2.5-1.5b")] == ["tuned-qwen-generic-cpu:1"]
    with pytest.raises(UnknownModelError, match="gpt-4o-mini"):
        found.find("gpt-4o-min")


def test_variables_go_before_the_file(home: Home) -> None:
    home.settings_file.write_text('catalogs = "a.json, b.json"\n[aliases]\nx = "y"\n')
    assert read_catalog_settings(home, {}) == CatalogSettings(("a.json", "b.json"), {"x": "y"})
    variables = {"CUPOLA_CATALOGS": "c.json", "CUPOLA_ALIASES": "A = b , c=d:1, e, =f"}
    found = read_catalog_settings(home, variables)
    assert found == CatalogSettings(("c.json",), {"a": "b", "c": "d:1"})


CPU, CUDA, QNN = ExecutionProvider.CPU, ExecutionProvider.CUDA, ExecutionProvider.QNN


@pytest.mark.parametrize(
    ("workers", "providers"),
    [
        ("", {CPU}),
        ("3", {CPU}),
        ("cuda:0, cpu:0", {CUDA, CPU}),
        ("qnn", {QNN}),
        ("abacus:1", {CPU}),
    ],
)
def test_the_workers_say_what_can_be_run(
    home: Home, workers: str, providers: set[ExecutionProvider]
) -> None:
    assert read_catalog_settings(home, {"CUPOLA_WORKERS": workers}).providers == providers
    home.settings_file.write_text(f'workers = "{workers}"')
    assert ModelCache(home).providers == providers


def test_a_name_means_what_the_workers_can_run(home: Home) -> None:
    variants = [
        msgspec.structs.replace(SMOLLM2_135M, id="s-cuda-gpu:1", provider=CUDA),
        SMOLLM2_135M,
    ]
    cache = ModelCache(home)
    cache.catalog = lambda: merged([FixedSource(variants)])  # type: ignore[method-assign]
    assert [variant.provider for variant in cache.variants("smollm2-135m")] == [CPU, CUDA]
    with_gpu = ModelCache(home, {CUDA, CPU})
    with_gpu.catalog = cache.catalog  # type: ignore[method-assign]
    assert [variant.provider for variant in with_gpu.variants("smollm2-135m")] == [CUDA, CPU]


@pytest.mark.parametrize("content", ["", "catalogs = 3", "[", "catalogs = {a = 1}", "aliases = []"])
def test_settings_that_cannot_be_read_hide_no_model(home: Home, content: str) -> None:
    home.settings_file.write_text(content)
    assert ModelCache(home).catalog().find("smollm2-135m")


def test_a_catalog_that_cannot_be_read_is_named(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    (home.root / "own.json").write_text("{")
    home.settings_file.write_text('catalogs = "own.json,gone.json"')
    assert ModelCache(home).catalog().find("smollm2-135m")
    assert "own.json is no catalog" in caplog.text and "gone.json cannot be read" in caplog.text


def test_a_catalog_on_a_server(home: Home, site: Site) -> None:
    url = f"{site.url}/catalog"
    home.settings_file.write_text(f'catalogs = "{url}"')
    site.files["/catalog"] = catalog(OWN)
    with pytest.raises(UnknownModelError):
        ModelCache(home).catalog().find("ours")
    assert site.requests == []  # a listing asks nobody
    assert refresh([url], home) == []
    assert ModelCache(home).catalog().find("ours")
    site.files["/catalog"] = catalog(OWN | {"alias": "renamed"})
    assert refresh([url], home) == []
    assert ModelCache(home).catalog().find("renamed")


@pytest.mark.parametrize("content", [b"", b"{", b'{"models": [{"alias": 1}]}', None])
def test_a_copy_stays_when_the_server_has_nothing_better(
    home: Home, site: Site, content: bytes | None
) -> None:
    url = f"{site.url}/catalog"
    site.files["/catalog"] = catalog(OWN)
    assert refresh([url], home) == []
    before = copy_of(url, home).read_bytes()
    if content is None:
        site.faults["/catalog"] = [faults.status(404)] * 9
    else:
        site.files["/catalog"] = content
    [trouble] = refresh([url], home)
    assert trouble.startswith(url)
    assert copy_of(url, home).read_bytes() == before
