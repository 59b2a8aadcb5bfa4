"""The data folder and the disk under a service: full, read-only, shared with another service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cupola.cache.home import Home
from cupola.scheduler.protocol.endpoint import local_endpoint, remove, remove_abandoned
from tests.service.running_service import PATIENCE, Service

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses signals and limits")
NO_MODEL = {"model": "", "backend": "echo", "port": 0}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files of the test's own."""
    with tempfile.TemporaryDirectory() as folder:  # shorter than tmp_path: sockets have short names
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


Begin = Callable[..., subprocess.Popen[str]]
Serve = Callable[[Path], Service]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """``python -m cupola.service`` as a process. ``full``: it can write nothing to any file."""

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    def start(home: Path, full: bool = False, **options: Any) -> subprocess.Popen[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CUPOLA_")}
        values = NO_MODEL | {"home": home}
        given = {f"CUPOLA_{key.upper()}": str(value) for key, value in values.items()}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
        process = subprocess.Popen(
            [sys.executable, "-m", "cupola.service"],
            env=clean | given,
            preexec_fn=limit if full else None,
            **streams,
        )
        started.append(process)
        return process

    started: list[subprocess.Popen[str]] = []
    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def serve() -> Serve:
    """Starts a service that loads no model, for ``with``."""
    return lambda home: Service(home, **NO_MODEL)


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=PATIENCE)[0] or ""


def until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"it ended without {text!r}:\n{read}")


def no_folder(tmp_path: Path) -> Path:
    """A place where nothing can be made, also not by root."""
    file = tmp_path / "file"
    file.touch()
    return file / "home"


@pytest.mark.parametrize("full", [True, False])
def test_a_service_whose_folder_cannot_be_written_runs_and_says_so(
    begin: Begin, tmp_path: Path, full: bool
) -> None:
    home = tmp_path if full else no_folder(tmp_path)
    process = begin(home, full)
    log = until(process, "ready on")
    assert f"cannot write {home / 'daemon.json'}" in log
    assert not list(tmp_path.glob("daemon.json*"))
    url = log.partition("ready on ")[2].split()[0]
    assert httpx2.get(f"{url}/health", timeout=PATIENCE).status_code == 200
    log += end(process)
    assert "Traceback" not in log
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_the_output_ends_nothing(begin: Begin, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = begin(tmp_path, stdout=full, stderr=subprocess.PIPE)
        assert process.stderr is not None
        log = ""
        for line in process.stderr:
            log += line
            if "cannot write to standard output" in line:
                break
        process.send_signal(signal.SIGINT)
        log += process.communicate(timeout=PATIENCE)[1]
    assert "Traceback" not in log and "Exception ignored" not in log
    assert process.returncode == 0


# -- two services ----------------------------------------------------------------------------------


def test_a_second_service_of_a_folder_is_refused(
    begin: Begin, serve: Serve, tmp_path: Path
) -> None:
    with serve(tmp_path) as first:
        first.ready()
        record = Home(tmp_path).daemon_file.read_text()
        second = begin(tmp_path)
        said = second.communicate(timeout=PATIENCE)[0]
        assert second.returncode == 1
        assert str(tmp_path) in said and str(first.process.pid) in said and first.url in said
        assert "--home" in said and "Traceback" not in said
        assert Home(tmp_path).daemon_file.read_text() == record
        assert json.loads(record)["pid"] == first.process.pid


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_service_can_follow_one_that_ended(
    serve: Serve, tmp_path: Path, how: signal.Signals
) -> None:
    with serve(tmp_path) as first:
        first.ready()
        first.process.send_signal(how)
        first.process.wait(PATIENCE)
        with serve(tmp_path) as second:
            second.ready()


# -- the folders of sockets ------------------------------------------------------------------------


def test_the_folder_of_a_killed_service_goes_at_the_next_start(
    serve: Serve, tmp_path: Path, temporary: Path
) -> None:
    def folders() -> set[Path]:
        return set(temporary.glob("cupola-*"))

    with serve(tmp_path / "one") as killed:
        killed.ready()
        dead = folders()
        assert len(dead) == 1
        killed.process.kill()
        killed.process.wait(PATIENCE)
        assert folders() == dead
        with serve(tmp_path / "two") as second:
            second.ready()
            living = folders()
            assert len(living) == 1 and not living & dead
            with serve(tmp_path / "three") as third:
                third.ready()
                assert len(folders()) == 2 and folders() >= living
            assert folders() == living
    assert folders() == set()


def empty(folder: Path) -> None:
    folder.mkdir()


def with_a_file(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").touch()


def a_file(folder: Path) -> None:
    folder.touch()


def a_link(folder: Path) -> None:
    target = folder.with_name("target")
    target.mkdir()
    (target / "owner.lock").touch()
    folder.symlink_to(target)


def a_dead_one_with_a_file(folder: Path) -> None:
    folder.mkdir()
    (folder / "owner.lock").touch()
    (folder / "notes.txt").touch()


@pytest.mark.parametrize("make", [empty, with_a_file, a_file, a_link, a_dead_one_with_a_file])
def test_what_others_made_stays(temporary: Path, make: Callable[[Path], None]) -> None:
    make(temporary / "cupola-abc")
    remove_abandoned()
    assert (temporary / "cupola-abc").exists()
    assert (temporary / "target" / "owner.lock").exists() == (make is a_link)


def test_a_living_endpoint_stays_and_a_removed_one_leaves_nothing(temporary: Path) -> None:
    endpoint = local_endpoint()
    [folder] = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    remove_abandoned()
    assert folder.exists()
    remove(endpoint)
    assert list(temporary.iterdir()) == []
