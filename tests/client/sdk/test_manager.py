"""The SDK, function by function, over a real service that echoes.

docs/foundry-local.md lists the functions; a test here compares that table with these tests.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from cupola.cache.home import Home
from cupola.client import (
    AsyncFoundryLocalManager,
    ClientError,
    DeviceType,
    DownloadError,
    ExecutionProvider,
    FoundryLocalManager,
    FoundryLocalManagerBuilder,
    FoundryModelInfo,
    ModelNotDownloadedError,
    ModelNotFoundError,
    NotRunningError,
    ResponseError,
    UnreachableError,
)
from cupola.client.sdk.connection import Connection, Timeout
from tests.default_model import DEFAULT_MODEL

ALIAS, MODEL = DEFAULT_MODEL.alias, DEFAULT_MODEL.id
DOCUMENT = Path(__file__).parents[3] / "docs" / "foundry-local.md"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A data folder with a model, and settings for services without one's inference."""
    home = Home(tmp_path_factory.mktemp("sdk") / "home")
    folder = home.model_folder(DEFAULT_MODEL.publisher, MODEL)
    folder.mkdir(parents=True)
    (folder / "genai_config.json").write_text(
        '{"model": {"type": "llama", "context_length": 8192}, "search": {"max_length": 8192}}'
    )
    (folder / "inference_model.json").write_text(f'{{"Name": "{MODEL}"}}')
    (folder / "model.onnx").write_bytes(b"not read here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPOLA_HOME", str(home.root))
        patch.setenv("CUPOLA_BACKEND", "echo")
        patch.setenv("CUPOLA_PORT", "0")
        patch.setenv("CUPOLA_MODEL", "")
        patch.setenv("CUPOLA_GRACE_SECONDS", "1")
        patch.setenv("PIP_CONFIG_FILE", os.devnull)  # no index can be reached
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
        patch.setenv("PIP_RETRIES", "0")
        patch.delenv("PIP_FIND_LINKS", raising=False)
        patch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield home
        FoundryLocalManager(bootstrap=False).stop_service()


@pytest.fixture
def manager(settings: Home) -> FoundryLocalManager:
    """A manager of a running service that has no model in memory."""
    manager = FoundryLocalManager()
    for model in manager.list_loaded_models():
        manager.unload_model(model.id, force=True)
    return manager


def ids(models: list[FoundryModelInfo]) -> list[str]:
    return [model.id for model in models]


def public_names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_function_of_the_table_has_a_test_and_every_function_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(test_\w+)` \|", DOCUMENT.read_text("utf-8"), re.M)
    table = dict(rows)
    assert set(table.values()) <= {name for name in globals() if name.startswith("test_")}
    public = public_names(FoundryLocalManager)
    steps = {name for name in vars(FoundryLocalManagerBuilder) if not name.startswith("_")}
    fields = set(FoundryLocalManagerBuilder.__dataclass_fields__)
    assert set(table) == public | (steps - fields)


def test_the_asynchronous_manager_has_the_same_functions_and_arguments() -> None:
    ours = public_names(FoundryLocalManager)
    theirs = public_names(AsyncFoundryLocalManager)
    # ``create`` stands for the constructor; the synchronous manager asks for it.
    assert theirs == ours - {"builder", "httpx_client"} | {"create"}
    for name in sorted(theirs & ours):
        if not isinstance(getattr(FoundryLocalManager, name), property):
            method = getattr(AsyncFoundryLocalManager, name)
            assert inspect.signature(method) == inspect.signature(
                getattr(FoundryLocalManager, name)
            )


# -- the service -----------------------------------------------------------------------------------


def test_start_service(settings: Home) -> None:
    manager = FoundryLocalManager(bootstrap=False)
    manager.start_service()
    uri = manager.service_uri
    manager.start_service()  # it runs already
    assert manager.service_uri == uri


def test_stop_service(manager: FoundryLocalManager) -> None:
    manager.stop_service()
    assert not manager.is_service_running()
    manager.stop_service()  # nothing to stop


def test_is_service_running(manager: FoundryLocalManager, tmp_path: Path) -> None:
    assert manager.is_service_running() is True
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as free:
        patch.setenv("CUPOLA_PORT", str(free.getsockname()[1]))
        free.close()
        elsewhere = FoundryLocalManager(bootstrap=False, home=tmp_path)
        assert elsewhere.is_service_running() is False


def test_service_uri(manager: FoundryLocalManager) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", manager.service_uri)
    manager.stop_service()
    with pytest.raises(NotRunningError, match="start the service first"):
        _ = manager.service_uri


def test_endpoint(manager: FoundryLocalManager) -> None:
    assert manager.endpoint == f"{manager.service_uri}/v1"


def test_api_key(manager: FoundryLocalManager, monkeypatch: pytest.MonkeyPatch) -> None:
    assert manager.api_key == "OPENAI_API_KEY"
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    assert manager.api_key == "mine"


def test_httpx_client(manager: FoundryLocalManager) -> None:
    assert MODEL in manager.httpx_client.get("/openai/models")
    with pytest.raises(ResponseError) as refused:
        manager.httpx_client.get("/nowhere")
    assert refused.value.status == 404


# -- the catalog -----------------------------------------------------------------------------------


def test_list_catalog_models(manager: FoundryLocalManager) -> None:
    (model,) = [each for each in manager.list_catalog_models() if each.id == MODEL]
    assert (model.alias, model.version, model.task) == (ALIAS, "1", "chat-completion")
    assert (model.device_type, model.execution_provider) == ("CPU", "CPUExecutionProvider")
    assert model.uri.startswith("azureml://")


def test_client(manager: FoundryLocalManager, tmp_path: Path) -> None:
    assert manager.client is manager.httpx_client
    manager.client.timeout = 5.0
    assert FoundryLocalManager(bootstrap=False, home=tmp_path).client is None


def test_catalog_list(manager: FoundryLocalManager) -> None:
    assert manager.catalog_list is None and manager.catalog_dict is None
    models = manager.list_catalog_models()
    assert manager.catalog_list == models
    by_name = manager.catalog_dict
    assert by_name is not None
    assert {model.id for model in models} | {model.alias for model in models} == set(by_name)
    assert by_name[ALIAS] == manager.get_model_info(ALIAS)
    manager.refresh_catalog()
    assert manager.catalog_list is None


def test_a_model_tells_what_runs_it_as_in_sdk_0_3(manager: FoundryLocalManager) -> None:
    model = manager.list_catalog_models()[0]
    assert model.runtime is ExecutionProvider.CPU
    assert model.runtime.get_alias() == "cpu"


def test_refresh_catalog(manager: FoundryLocalManager) -> None:
    first = manager.list_catalog_models()
    assert manager.list_catalog_models() is first
    manager.refresh_catalog()
    assert manager.list_catalog_models() is not first


def test_get_model_info(manager: FoundryLocalManager) -> None:
    for name in (ALIAS, ALIAS.upper(), MODEL, MODEL.rpartition(":")[0]):
        model = manager.get_model_info(name)
        assert model is not None
        assert model.id == MODEL
    assert manager.get_model_info(ALIAS, DeviceType.NPU) is None
    assert manager.get_model_info("nobody") is None
    with pytest.raises(ModelNotFoundError, match="Model nobody not found in the catalog"):
        manager.get_model_info("nobody", raise_on_not_found=True)


# -- the cache -------------------------------------------------------------------------------------


def test_get_cache_location(manager: FoundryLocalManager, settings: Home) -> None:
    assert manager.get_cache_location() == str(settings.models)


def test_list_cached_models(manager: FoundryLocalManager) -> None:
    assert ids(manager.list_cached_models()) == [MODEL]


def test_download_model(manager: FoundryLocalManager) -> None:
    model = manager.download_model(ALIAS)
    assert model.id == MODEL  # it is there
    told: list[float] = []
    body = {"model": model.to_download_body()}
    manager.httpx_client.post_with_progress("/openai/download", body, told.append)
    assert told[-1] == 100
    with pytest.raises(DownloadError, match="Could not fetch"):
        manager.download_model(ALIAS, force=True)
    assert ids(manager.list_cached_models()) == [MODEL]  # what was there stays
    with pytest.raises(ValueError, match="not found"):
        manager.download_model("nobody")
    with pytest.raises(DownloadError, match="Failed to download"):
        manager.httpx_client.post_with_progress(
            "/openai/download", {"model": {"Name": "nobody:1", "Uri": ""}}
        )


def test_is_model_upgradeable(manager: FoundryLocalManager) -> None:
    assert manager.is_model_upgradeable(MODEL) is False
    with pytest.raises(ModelNotFoundError):
        manager.is_model_upgradeable("nobody")


def test_upgrade_model(manager: FoundryLocalManager) -> None:
    assert manager.upgrade_model(MODEL).id == MODEL


# -- models in memory ------------------------------------------------------------------------------


def test_load_model(manager: FoundryLocalManager, settings: Home) -> None:
    assert manager.load_model(ALIAS, ttl=60).id == MODEL
    assert ids(manager.list_loaded_models()) == [MODEL]
    with pytest.raises(ModelNotFoundError):
        manager.load_model("nobody")


def test_a_model_that_is_not_on_the_disk_is_not_loaded(
    manager: FoundryLocalManager, settings: Home
) -> None:
    folder = settings.model_folder(DEFAULT_MODEL.publisher, MODEL)
    aside = folder.rename(settings.root / "aside")
    try:
        with pytest.raises(ModelNotDownloadedError, match="has not been downloaded yet"):
            manager.load_model(ALIAS)
    finally:
        aside.rename(folder)


def test_unload_model(manager: FoundryLocalManager) -> None:
    manager.unload_model(ALIAS)  # it is not loaded
    manager.load_model(ALIAS)
    manager.unload_model(ALIAS)
    assert ids(manager.list_loaded_models()) == [MODEL]  # its time to live wins
    manager.unload_model(ALIAS, force=True)
    assert manager.list_loaded_models() == []


def test_list_loaded_models(manager: FoundryLocalManager) -> None:
    assert manager.list_loaded_models() == []


def test_close(manager: FoundryLocalManager) -> None:
    with FoundryLocalManager(ALIAS) as inner:
        assert ids(inner.list_loaded_models()) == [MODEL]
    assert manager.is_service_running()
    assert ids(manager.list_loaded_models()) == [MODEL]  # for its time to live


# -- the builder -----------------------------------------------------------------------------------


def test_builder(settings: Home) -> None:
    assert isinstance(FoundryLocalManager.builder(), FoundryLocalManagerBuilder)


def test_build(settings: Home) -> None:
    manager = FoundryLocalManager.builder().alias_or_model_id(ALIAS).build()
    assert ids(manager.list_loaded_models()) == [MODEL]


def test_alias_or_model_id() -> None:
    assert FoundryLocalManager.builder().alias_or_model_id(ALIAS).model == ALIAS


def test_device(settings: Home) -> None:
    builder = FoundryLocalManager.builder().alias_or_model_id(ALIAS).device(DeviceType.NPU)
    with pytest.raises(ModelNotFoundError):
        builder.build()


def test_bootstrap(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUPOLA_PORT", str(server.getsockname()[1]))
        server.close()
        builder = FoundryLocalManager.builder().alias_or_model_id(ALIAS).home(tmp_path)
        assert not builder.bootstrap(False).build().is_service_running()


def test_timeout() -> None:
    # It accepts and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Connection(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.01)
        with pytest.raises(UnreachableError, match=r"no answer within 0\.01 seconds"):
            connection.get("/openai/status")
    assert FoundryLocalManager.builder().timeout(3).seconds == 3
    assert FoundryLocalManager.builder().timeout_secs(3).seconds == 3


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, None), (2, 2), (0.5, 0.5), (httpx2.Timeout(3), 3), (httpx2.Timeout(9, read=4), 4)],
)
def test_a_timeout_may_be_that_of_httpx(
    given: Timeout, seconds: float | None, tmp_path: Path
) -> None:
    manager = FoundryLocalManager(bootstrap=False, timeout=given, home=tmp_path)
    assert manager.timeout == seconds
    assert Connection("http://127.0.0.1:1", given).timeout == seconds


def test_home(settings: Home) -> None:
    manager = FoundryLocalManager.builder().home(settings.root).build()
    assert manager.get_cache_location() == str(settings.models)


def test_build_async(settings: Home) -> None:
    async def use() -> None:
        builder = FoundryLocalManager.builder().alias_or_model_id(ALIAS)
        async with await builder.build_async() as manager:
            assert await manager.is_service_running()
            assert manager.endpoint == f"{manager.service_uri}/v1"
            assert manager.api_key
            assert MODEL in ids(await manager.list_catalog_models())
            manager.refresh_catalog()
            assert await manager.get_model_info("nobody") is None
            assert ids(await manager.list_cached_models()) == [MODEL]
            assert await manager.get_cache_location() == str(settings.models)
            assert (await manager.download_model(ALIAS)).id == MODEL
            assert not await manager.is_model_upgradeable(ALIAS)
            assert (await manager.upgrade_model(ALIAS)).id == MODEL
            assert (await manager.load_model(ALIAS, ttl=5)).id == MODEL
            await manager.unload_model(ALIAS, force=True)
            assert await manager.list_loaded_models() == []
            await manager.stop_service()
            assert not await manager.is_service_running()
            await manager.start_service()

    asyncio.run(use())


# -- errors and the import -------------------------------------------------------------------------


def test_a_service_that_has_gone(manager: FoundryLocalManager) -> None:
    FoundryLocalManager(bootstrap=False).stop_service()
    with pytest.raises(ConnectionError) as gone:
        manager.get_cache_location()
    assert isinstance(gone.value, ClientError)
    assert "cupola service status" in gone.value.hint


def test_errors_are_one_tree() -> None:
    import cupola.client.errors as errors

    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    assert len(kinds) > 7
    assert all(issubclass(kind, ClientError) for kind in kinds)


def test_the_import_is_light(settings: Home) -> None:
    import subprocess

    code = (
        "import sys, cupola.client; before = len(sys.modules); "
        "names = dir(cupola.client); from cupola.client import FoundryLocalManager; "
        "heavy = {'pydantic', 'httpx2', 'starlette', 'zmq', 'numpy', 'rich', 'typer'}; "
        "print(sorted(heavy & sys.modules.keys()), before, len(names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")


def test_the_way_of_a_chat(manager: FoundryLocalManager) -> None:
    model = manager.load_model(ALIAS)
    body = {"model": model.id, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {manager.api_key}"}
    url = f"{manager.endpoint}/chat/completions"
    with httpx2.Client(trust_env=False, timeout=60) as client:
        answer = client.post(url, json=body, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"].startswith("hello")
