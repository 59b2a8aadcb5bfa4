"""Models from the hub and from URLs: what is chosen, loaded, checked, made and refused."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from pathlib import Path

import onnx
import pytest

from cupola.cache.errors import (
    BrokenFileError,
    CacheError,
    CacheErrorCode,
    DeniedError,
    FetchError,
    HashMismatchError,
    NoSpaceError,
    NotFoundError,
    UnsupportedError,
)
from cupola.cache.home import Home
from cupola.cache.install.import_path import import_path
from cupola.cache.install.install_address import install_address
from cupola.cache.install.messages import DownloadJob, Installed, InstallFailed, InstallProgress
from cupola.cache.install.process import InstallProcess, run_install
from cupola.cache.precision import Precision
from cupola.cache.store import ModelCache
from cupola.cache.system.digests import check_digests
from cupola.cache.system.locks import file_lock
from tests import faulty_server as faults
from tests import tiny_encoder, tiny_whisper
from tests.built_whisper import write_built
from tests.cache.convert.tiny_bert_gguf import write_bert
from tests.cache.convert.tiny_family import FAMILIES
from tests.cache.convert.tiny_gguf import TinyModel
from tests.hub_server import HubServer, refuse

pytestmark = pytest.mark.slow

REPOSITORY = "Tiny-Org/Tiny-Model-Instruct-GGUF"
ADDRESS = f"hf:{REPOSITORY}"

KILLS = int(os.environ.get("CUPOLA_TEST_KILLS", "6"))
SPEECH = "automatic-speech-recognition"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return TinyModel().write(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture
def genai(home: Home, gguf: bytes, tmp_path: Path) -> dict[str, bytes]:
    """A folder of onnxruntime-genai's form, as its builder leaves it."""
    (tmp_path / "made.gguf").write_bytes(gguf)
    path = import_path(tmp_path / "made.gguf", Home(tmp_path / "other")).path
    ours = ("inference_model.json", "quality.json", "cupola-digests.json")
    return {each.name: each.read_bytes() for each in path.iterdir() if each.name not in ours}


def left_over(home: Home) -> list[str]:
    return sorted(path.name for path in home.downloads.glob("*"))


def test_a_gguf_of_the_hub(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"README.md": b"# Tiny", "tiny-q4_k_m.gguf": b"?", "tiny-q8_0.gguf": gguf})
    stages: list[str] = []
    model = install_address(ADDRESS, home, None, lambda stage, *_: stages.append(stage))
    assert stages.count("wait") == 1
    assert model.variant.id == "tiny-model-instruct-generic-cpu:1"
    assert (model.variant.publisher, model.variant.license) == ("Tiny-Org", "apache-2.0")
    assert model.path == home.models / "Tiny-Org" / "tiny-model-instruct-generic-cpu-1"
    assert list(dict.fromkeys(stages)) == ["wait", "download", "check", "convert"]
    assert left_over(home) == []
    assert model.source is not None and model.source.address == ADDRESS
    described = json.loads((model.path / "inference_model.json").read_text())
    assert described["SourceSha256"] == model.source.files[0].sha256


def test_it_is_found_by_its_address_for_ever_after(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    model = install_address(ADDRESS, home)
    hub.site.requests.clear()
    assert install_address(ADDRESS, home) == model
    assert ModelCache(home).find(ADDRESS) == model
    assert hub.site.requests == []


def test_a_revision_and_a_name(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"a/tiny-q8_0.gguf": gguf})
    model = install_address(f"{ADDRESS}@v1:a/tiny-q8_0.gguf", home, "Mine!")
    assert (model.variant.alias, model.variant.id) == ("mine", "mine-generic-cpu:1")
    assert hub.site.requests[0][0].endswith("/revision/v1")


def test_parts_of_a_split_gguf(home: Home, hub: HubServer, tmp_path: Path) -> None:
    whole = TinyModel(context=64).write(tmp_path / "whole.gguf")
    half = ("blk.1.",)
    names = list(TinyModel().tensors())
    first = [name for name in names if name.startswith(half)]
    second = [name for name in names if not name.startswith(half)]
    parts = {}
    for number, missing in enumerate((first, second)):
        metadata = {"split.count": 2, "split.no": number}
        model = TinyModel(context=64, metadata=metadata, missing_tensors=tuple(missing))
        name = f"tiny-q8_0-0000{number + 1}-of-00002.gguf"
        parts[name] = model.write(tmp_path / name).read_bytes()
    hub.add(REPOSITORY, parts)
    made = install_address(f"{ADDRESS}:Q8_0", home)
    same = import_path(whole, home, "whole")
    assert (made.path / "model.onnx.data").read_bytes() == (
        same.path / "model.onnx.data"
    ).read_bytes()
    with pytest.raises(BrokenFileError, match=r"Give the first one: tiny-q8_0-00001-of-00002.gguf"):
        import_path(tmp_path / "tiny-q8_0-00002-of-00002.gguf", home)
    (tmp_path / "tiny-q8_0-00002-of-00002.gguf").unlink()
    with pytest.raises(BrokenFileError, match=r"00002-of-00002.gguf is missing"):
        import_path(tmp_path / "tiny-q8_0-00001-of-00002.gguf", home)


def test_a_genai_folder_of_the_hub(home: Home, hub: HubServer, genai: dict[str, bytes]) -> None:
    files = {"README.md": b"#", "config.json": b"{}"}
    files |= {f"cuda/cuda-int4/{name}": content for name, content in genai.items()}
    files |= {f"cpu_and_mobile/cpu-int4/{name}": content for name, content in genai.items()}
    hub.add("Tiny-Org/Tiny-onnx", files)
    model = install_address("hf:Tiny-Org/Tiny-onnx", home)
    assert model.variant.id == "tiny-generic-cpu:1"
    assert model.variant.context_length == 128
    for name, content in genai.items():
        assert (model.path / name).read_bytes() == content
    assert not (model.path / "README.md").exists()
    assert not [path for path, _ in hub.site.requests if "cuda" in path]
    assert left_over(home) == []
    other = install_address("hf:Tiny-Org/Tiny-onnx:cuda/cuda-int4", home, "other")
    assert other.variant.alias == "other"


def test_an_encoder_of_the_hub(home: Home, hub: HubServer, tmp_path: Path) -> None:
    tiny_encoder.write(tmp_path / "encoder")
    files = {
        path.relative_to(tmp_path / "encoder").as_posix(): path.read_bytes()
        for path in (tmp_path / "encoder").rglob("*")
        if path.is_file()
    }
    hub.add("Tiny-Org/Tiny-Embed", files | {"pytorch_model.bin": b"never", "onnx/model.onnx": b""})
    model = install_address("hf:Tiny-Org/Tiny-Embed", home)
    assert (model.variant.id, model.variant.task) == ("tiny-embed-generic-cpu:1", "embeddings")
    assert not [path for path, _ in hub.site.requests if "pytorch" in path]
    local = import_path(tmp_path / "encoder", home, "local-encoder")
    assert (local.variant.alias, local.variant.task) == ("local-encoder", "embeddings")


def test_an_encoder_of_another_kind_is_not_loaded(
    home: Home, hub: HubServer, tmp_path: Path
) -> None:
    folder = tiny_encoder.write(tmp_path / "encoder", model_type="nomic_bert").parent
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    hub.add("Tiny-Org/Tiny-Nomic", files)
    with pytest.raises(UnsupportedError, match=r"'nomic_bert'.*bert, roberta, xlm-roberta.*a GGUF"):
        install_address("hf:Tiny-Org/Tiny-Nomic", home)
    assert not [path for path, _ in hub.site.requests if path.endswith(".safetensors")]


def test_an_encoder_in_a_gguf(home: Home, hub: HubServer, tmp_path: Path) -> None:
    write_bert(tmp_path / "t.gguf")
    content = (tmp_path / "t.gguf").read_bytes()
    hub.add("Tiny-Org/Tiny-Bert-GGUF", {"tiny-q8_0.gguf": content}, architecture="bert")
    model = install_address("hf:Tiny-Org/Tiny-Bert-GGUF", home)
    assert (model.variant.alias, model.variant.task) == ("tiny-bert", "embeddings")


def test_a_whisper_of_another_converter_is_refused_with_what_to_do(
    home: Home, tmp_path: Path
) -> None:
    folder = write_built(tmp_path / "built").parent
    for path in folder.glob("*.onnx"):
        graph = onnx.load(path, load_external_data=False)
        for node in graph.graph.node:
            node.name = f"MatMul_{len(node.name)}"
        path.write_bytes(graph.SerializeToString())
    with pytest.raises(UnsupportedError, match=r"model\.safetensors"):
        import_path(folder, home)
    assert not list(home.models.glob("*/*"))


def test_a_whisper_of_the_builder(home: Home, hub: HubServer, tmp_path: Path) -> None:
    folder = write_built(tmp_path / "Built Whisper").parent
    model = import_path(folder, home)
    assert (model.variant.id, model.variant.task) == ("built-whisper-generic-cpu:1", SPEECH)
    assert (model.path / "decoder.onnx").read_bytes() != (folder / "decoder.onnx").read_bytes()
    assert import_path(folder, home).path == model.path
    assert import_path(folder, home, "mine").variant.alias == "mine"
    files = {f"cpu/{path.name}": path.read_bytes() for path in folder.iterdir()}
    hub.add("Tiny-Org/Tiny-Built", files)
    fetched = install_address("hf:Tiny-Org/Tiny-Built", home)
    assert (fetched.variant.id, fetched.variant.task) == ("tiny-built-generic-cpu:1", SPEECH)
    for name in ("encoder.onnx", "decoder.onnx.data"):
        assert (fetched.path / name).read_bytes() == (model.path / name).read_bytes()
    assert import_path(model.path, Home(tmp_path / "second")).variant.task == SPEECH
    assert left_over(home) == []


def test_a_whisper_that_somebody_trained(home: Home, hub: HubServer, tmp_path: Path) -> None:
    """Some of the files that its makers have beside the weights are missing."""
    folder = tiny_whisper.write_hugging_face(tmp_path / "trained").parent
    for name in ("normalizer.json", "preprocessor_config.json", "generation_config.json"):
        (folder / name).unlink()
    assert import_path(folder, home).variant.task == SPEECH
    hub.add("Tiny-Org/Trained", {path.name: path.read_bytes() for path in folder.iterdir()})
    assert install_address("hf:Tiny-Org/Trained", home, "hub").variant.task == SPEECH


def test_a_cross_encoder_of_the_hub(home: Home, hub: HubServer, tmp_path: Path) -> None:
    folder = tiny_encoder.write_ranker(tmp_path / "ranker").parent
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.add("Tiny-Org/Tiny-Reranker", files | {"pytorch_model.bin": b"never"})
    model = install_address("hf:Tiny-Org/Tiny-Reranker", home)
    assert (model.variant.id, model.variant.task) == ("tiny-reranker-generic-cpu:1", "text-ranking")
    local = import_path(folder, home, "local-ranker")
    assert (local.variant.alias, local.variant.task) == ("local-ranker", "text-ranking")


def test_a_decoder_in_safetensors(home: Home, hub: HubServer, tmp_path: Path) -> None:
    folder = FAMILIES["qwen3"].write_folder(tmp_path / "Tiny Qwen", parts=2).parent
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.add("Tiny-Org/Tiny-Qwen", files | {"pytorch_model.bin": b"never", "README.md": b"never"})
    model = install_address("hf:Tiny-Org/Tiny-Qwen", home)
    assert model.variant.id == "tiny-qwen-generic-cpu:1"
    assert not [path for path, _ in hub.site.requests if "pytorch" in path or "README" in path]
    assert (model.path / "chat_template.jinja").is_file()
    local = import_path(folder, home, precision=Precision.FP16)
    assert local.variant.id == "tiny-qwen-fp16-cpu:1"
    assert import_path(folder, home, precision=Precision.FP16).path == local.path
    assert left_over(home) == []


@pytest.mark.parametrize("kind", ["hugging face", "ctranslate2"])
def test_a_model_of_speech_of_the_hub(
    home: Home, hub: HubServer, tmp_path: Path, kind: str
) -> None:
    if kind == "ctranslate2":
        tiny_whisper.write_ctranslate2(tmp_path / "whisper")
    else:
        tiny_whisper.write_hugging_face(tmp_path / "whisper")
    files = {path.name: path.read_bytes() for path in (tmp_path / "whisper").iterdir()}
    hub.add("Tiny-Org/Tiny-Whisper", files | {"pytorch_model.bin": b"never"})
    model = install_address("hf:Tiny-Org/Tiny-Whisper", home)
    variant = model.variant
    assert (variant.id, variant.task) == ("tiny-whisper-generic-cpu:1", SPEECH)
    assert not [path for path, _ in hub.site.requests if "pytorch" in path]
    local = import_path(tmp_path / "whisper", home, "local-whisper")
    assert (local.variant.alias, local.variant.task) == ("local-whisper", SPEECH)


def test_a_file_of_a_web_server(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.storage.files["/models/My%20Model.Q8_0.gguf?key=s3cret"] = gguf
    model = install_address(f"{hub.storage.url}/models/My%20Model.Q8_0.gguf?key=s3cret", home)
    assert model.variant.id == "my-model-generic-cpu:1"


def test_a_folder_on_this_disk(home: Home, genai: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "My Model"
    folder.mkdir()
    for name, content in genai.items():
        (folder / name).write_bytes(content)
    model = import_path(folder, home)
    assert (model.variant.id, model.variant.alias) == ("my-model-generic-cpu:1", "my-model")
    assert sorted(path.name for path in folder.iterdir()) == sorted(genai)
    onnx.load(model.path / "model.onnx")
    (folder / "model.onnx").write_bytes(b"changed by its owner")
    assert (model.path / "model.onnx").read_bytes() == genai["model.onnx"]
    with pytest.raises(UnsupportedError, match="another name"):
        import_path(folder, home)
    assert import_path(model.path.parent / model.path.name, Home(tmp_path / "second"))
    with pytest.raises(BrokenFileError, match="in the cache of models already"):
        import_path(model.path, home)


@pytest.mark.parametrize(
    ("name", "content", "error", "text"),
    [
        ("genai_config.json", b"{", BrokenFileError, "genai_config.json"),
        ("genai_config.json", b'{"model": 1}', BrokenFileError, "genai_config.json"),
        ("tokenizer.json", None, BrokenFileError, "no tokenizer.json"),
        ("model.onnx", None, BrokenFileError, "no ONNX file"),
    ],
)
def test_folders_that_are_no_model(
    home: Home,
    genai: dict[str, bytes],
    tmp_path: Path,
    name: str,
    content: bytes | None,
    error: type[CacheError],
    text: str,
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for each, data in (genai | {name: content}).items():
        if data is not None:
            (folder / each).write_bytes(data)
    with pytest.raises(error, match=text):
        import_path(folder, home)
    assert ModelCache(home).scan() == []
    assert left_over(home) == []


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"pytorch_model.bin": b""}, "pickle files, which can run code and are never opened"),
        ({"model.safetensors": b""}, "safetensors of a kind"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}, "It is a LoRA.*--base"),
        ({"onnx/model.onnx": b""}, "ONNX files but no genai_config.json"),
        ({"README.md": b""}, "No model is there"),
        ({"mmproj-F16.gguf": b""}, "No model is there"),
    ],
)
def test_repositories_without_a_model(
    home: Home, hub: HubServer, files: dict[str, bytes], text: str
) -> None:
    hub.add(REPOSITORY, files)
    with pytest.raises(UnsupportedError, match=text):
        install_address(ADDRESS, home)
    assert left_over(home) == []


def test_an_unknown_family_is_not_loaded(home: Home, hub: HubServer) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": b"x" * 100}, architecture="mamba9")
    with pytest.raises(UnsupportedError, match="'mamba9'; these can be converted: gemma"):
        install_address(ADDRESS, home)
    assert not [path for path, _ in hub.site.requests if "resolve" in path]


def test_what_the_repository_has_is_named(home: Home, hub: HubServer) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": b"", "tiny-q4_k_m.gguf": b""})
    with pytest.raises(NotFoundError, match=r"has no 'Q3_K'\. It has: Q8_0, Q4_K_M"):
        install_address(f"{ADDRESS}:Q3_K", home)


def test_gated_repositories(
    home: Home, hub: HubServer, gguf: bytes, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, tmp_path: Path,
) -> None:  # fmt: skip
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    hub.gated.add(REPOSITORY)
    hub.token = "hf_s3cret"
    caplog.set_level(logging.DEBUG)
    with pytest.raises(DeniedError, match="HF_TOKEN"):
        install_address(ADDRESS, home)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong0")
    with pytest.raises(DeniedError) as denied:
        install_address(ADDRESS, home)
    assert "hf_wrong0" not in str(denied.value)
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "no-token-here").mkdir()
    (tmp_path / "no-token-here" / "token").write_text("hf_s3cret\n")  # as `hf auth login` does
    assert install_address(ADDRESS, home).variant.alias == "tiny-model-instruct"
    assert "hf_s3cret" not in caplog.text and "hf_wrong0" not in caplog.text
    assert not [headers for _, headers in hub.storage.requests if "Authorization" in headers]


@pytest.mark.parametrize(
    ("status", "code", "error", "text"),
    [
        (401, "RepoNotFound", NotFoundError, "Check the spelling. If it is private, set HF_TOKEN"),
        (404, "RepoNotFound", NotFoundError, "Check the spelling"),
        (404, "RevisionNotFound", NotFoundError, "no such revision"),
        (401, "GatedRepo", DeniedError, "Accept them on"),
        (403, "GatedRepo", DeniedError, "Accept them on"),
        (400, "", FetchError, "400 Bad Request"),
        (429, "", FetchError, "429 Too Many Requests"),
        (503, "", FetchError, "503 Service Unavailable"),
    ],
)
def test_refusals(
    home: Home, hub: HubServer, status: int, code: str, error: type[FetchError], text: str
) -> None:
    path = f"/api/models/{REPOSITORY}/revision/main"
    hub.site.faults[path] = [lambda request: refuse(request, status, code, "no")] * 10
    with pytest.raises(error, match=text):
        install_address(ADDRESS, home)


def test_the_hub_is_asked_again(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    first = f"/api/models/{REPOSITORY}/revision/main"
    hub.site.faults[first] = [faults.status(429, Retry_After="1"), faults.status(503)]
    assert install_address(ADDRESS, home)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b"[" * 100_000])
def test_another_server_than_the_hub(home: Home, hub: HubServer, answer: bytes) -> None:
    def give(request: faults.Request) -> None:
        request.answer(200, {"Content-Length": str(len(answer))}, answer)

    hub.site.answers[f"/api/models/{REPOSITORY}/revision/main"] = give
    with pytest.raises(FetchError, match="Check HF_ENDPOINT"):
        install_address(ADDRESS, home)


def test_a_repository_with_unsafe_paths(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"../../tiny-q8_0.gguf": gguf})
    with pytest.raises(FetchError, match="unsafe path"):
        install_address(ADDRESS, home)


def test_a_full_disk_is_seen_before(
    home: Home, hub: HubServer, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(NoSpaceError, match=r"MB needed.*MB free"):
        install_address(ADDRESS, home)
    assert not hub.storage.requests


def test_damage_on_the_way_is_found(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    [path] = hub.storage.files
    hub.storage.faults[path] = [faults.damaged]
    with pytest.raises(HashMismatchError):
        install_address(ADDRESS, home)
    assert ModelCache(home).scan() == []
    assert install_address(ADDRESS, home)


def test_a_broken_model_leaves_nothing(home: Home, hub: HubServer, gguf: bytes) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf[:-1000]})
    with pytest.raises(BrokenFileError):
        install_address(ADDRESS, home)
    assert ModelCache(home).scan() == []
    assert left_over(home) == []


@pytest.mark.slow
def test_of_two_processes_one_loads_and_the_other_watches(
    home: Home, hub: HubServer, gguf: bytes
) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    [path] = hub.storage.files
    go_on, reached = threading.Event(), threading.Event()
    hub.storage.faults[path] = [faults.held(len(gguf) // 2, go_on, reached)]
    job = DownloadJob(str(home.root), ADDRESS)
    with InstallProcess.start(job) as first:
        assert reached.wait(60)
        with InstallProcess.start(job) as second:
            seen = []
            for report in second.reports():
                seen.append(report)
                if isinstance(report, InstallProgress) and report.stage == "download":
                    go_on.set()
            *_, result = first.reports()
    assert isinstance(result, Installed)
    assert seen[-1] == result
    watched = [r for r in seen if isinstance(r, InstallProgress) and r.stage == "download"]
    assert watched[0].total == len(gguf)
    assert len(hub.storage.requests) == 1
    assert left_over(home) == []


@pytest.mark.slow
@pytest.mark.parametrize("silent", [True, False], ids=["no byte", "half of the file"])
def test_a_cancelled_download_ends_by_itself_and_goes_on(
    home: Home, hub: HubServer, gguf: bytes, silent: bool
) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    [path] = hub.storage.files
    go_on, reached = threading.Event(), threading.Event()
    half = len(gguf) // 2
    hub.storage.faults[path] = [faults.held(0 if silent else half, go_on, reached)]
    job = DownloadJob(str(home.root), ADDRESS)
    with InstallProcess.start(job) as process:
        for report in process.reports():
            if not isinstance(report, InstallProgress) or report.stage != "download":
                continue
            if report.done == half or (silent and reached.wait(60)):
                process.cancel()
    go_on.set()
    assert process.status == 3  # it was not killed
    assert ModelCache(home).scan() == []
    run_install(job, lambda report: None)
    assert ModelCache(home).find("tiny-model-instruct")
    last = hub.storage.requests[-1][1]["Range"]
    assert last == f"bytes={0 if silent else half}-{len(gguf) - 1}"
    assert left_over(home) == []


def test_what_a_kill_at_the_very_end_leaves_goes_with_the_next_look(
    home: Home, hub: HubServer, gguf: bytes
) -> None:
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    model = install_address(ADDRESS, home)
    for name, address in (("done", ADDRESS), ("other", "hf:other/model")):
        (home.downloads / f"partial-{name}").mkdir()
        (home.downloads / f"partial-{name}" / ".address").write_text(address)
        (home.downloads / f"partial-{name}.progress").write_text("{}")
    (home.downloads / "work-gone").mkdir()
    for name in ("work", "address"):
        (home.downloads / f"{name}-gone.lock").touch()
    with file_lock(home.downloads / "address-busy.lock"):
        assert install_address(ADDRESS, home) == model
        assert left_over(home) == ["address-busy.lock", "partial-other"]


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path, hub: HubServer, gguf: bytes) -> None:
    """CUPOLA_TEST_KILLS=100: how many. A model that gets complete is made again elsewhere."""
    hub.add(REPOSITORY, {"tiny-q8_0.gguf": gguf})
    [path] = hub.storage.files
    chance = random.Random(7)
    kills = 0
    homes = [Home(tmp_path / "home0"), Home(tmp_path / "home1")]
    began = time.monotonic()
    run_install(DownloadJob(str(homes[0].root), ADDRESS), lambda report: None)
    whole = time.monotonic() - began  # kills come at any moment of it
    while kills < KILLS:
        go_on = threading.Event()
        held = faults.held(chance.randrange(len(gguf)), go_on, threading.Event())
        hub.storage.faults[path] = [held]
        if chance.random() < 0.5:
            go_on.set()  # else it is killed between two bytes, if it gets there
        with InstallProcess.start(DownloadJob(str(homes[-1].root), ADDRESS)) as process:
            later = threading.Timer(chance.uniform(0, 1.2 * whole), process.kill)
            later.start()
            *_, last = process.reports()
            later.cancel()
        go_on.set()
        for home in homes:
            for model in ModelCache(home).scan():
                assert check_digests(model.path)  # complete if it is there
        if isinstance(last, Installed):
            homes.append(Home(tmp_path / f"home{len(homes)}"))
        else:
            assert isinstance(last, InstallFailed) and last.code is CacheErrorCode.ENDED
            kills += 1
    hub.storage.faults[path] = []
    run_install(DownloadJob(str(homes[-1].root), ADDRESS), lambda report: None)
    print(f"{kills} killed, {len(homes)} finished")
    for home in homes:
        assert check_digests(ModelCache(home).find(ADDRESS).path)
        assert left_over(home) == []
