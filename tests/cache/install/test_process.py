"""An install in a process of its own: what it reports, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cupola.cache.errors import CacheErrorCode, InstallError
from cupola.cache.home import Home
from cupola.cache.install.__main__ import CANCELLED
from cupola.cache.install.messages import (
    DownloadJob,
    ImportJob,
    Installed,
    InstallFailed,
    InstallProgress,
    decode_report,
    encode,
)
from cupola.cache.install.process import InstallProcess, run_install
from cupola.cache.store import ModelCache
from tests.cache.convert.tiny_gguf import TinyModel

pytestmark = pytest.mark.slow

PATIENCE = 60.0  # seconds until a test gives up

# Does the job argv[1], says which process does it at the first report, and goes no further.
STARTER = """
import sys
from cupola.cache.install.messages import decode_job
from cupola.cache.install.process import InstallProcess

process = InstallProcess.start(decode_job(sys.argv[1]))
next(process.reports())
import psutil
print(psutil.Process().children()[0].pid, flush=True)
sys.stdin.readline()
"""

# Does the job argv[1]; says when it begins to delete files, and takes its time.
SLOW_TO_CLEAN = """
import shutil, sys, time
from cupola.cache.install.__main__ import main

rmtree = shutil.rmtree

def slow(*arguments, **options):
    print("deletes", file=sys.stderr, flush=True)
    time.sleep(0.5)
    rmtree(*arguments, **options)

shutil.rmtree = slow
sys.exit(main())
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def job(tmp_path: Path, home: Home) -> ImportJob:
    gguf = TinyModel().write(tmp_path / "Tiny-Model.Q8_0.gguf")
    return ImportJob(str(home.root), str(gguf), "tiny")


def files_of_work(home: Home) -> list[Path]:
    return [path for path in home.downloads.rglob("*") if path.suffix != ".lock"]


def test_the_reports_of_an_install(home: Home, job: ImportJob) -> None:
    with InstallProcess.start(job) as process:
        *progress, result = process.reports()
    model = ModelCache(home).find("tiny")
    assert result == Installed(model.variant.id, str(model.path))
    stages = [report.stage for report in progress if isinstance(report, InstallProgress)]
    assert len(stages) == len(progress)
    assert list(dict.fromkeys(stages)) == ["check", "wait", "convert"]
    assert isinstance(progress[-1], InstallProgress)
    assert progress[-1].fraction == 1.0


def test_the_result_of_an_install(home: Home, job: ImportJob) -> None:
    reports: list[InstallProgress] = []
    installed = run_install(job, reports.append)
    assert installed.model_id == "tiny-generic-cpu:1"
    assert reports


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("broken.gguf", b"GGUF", CacheErrorCode.BROKEN_FILE),
        ("gone.gguf", None, CacheErrorCode.DISK),
    ],
)
def test_a_failure_has_a_code(
    home: Home, tmp_path: Path, name: str, content: bytes | None, code: CacheErrorCode
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    job = ImportJob(str(home.root), str(tmp_path / name))
    with pytest.raises(InstallError) as caught:
        run_install(job, lambda report: None)
    assert caught.value.code is code


def test_a_process_without_a_result_is_a_failure(job: ImportJob) -> None:
    with InstallProcess.start(job) as process:
        reports = process.reports()
        next(reports)
        process.kill()
        *_, result = reports
    assert isinstance(result, InstallFailed)
    assert result.code is CacheErrorCode.ENDED


def test_an_exception_cancels_the_install_and_nothing_is_left(home: Home, job: ImportJob) -> None:
    def interrupt(report: InstallProgress) -> None:
        if report.stage == "convert":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_install(job, interrupt)
    assert files_of_work(home) == []
    assert ModelCache(home).scan() == []


def test_an_install_does_not_outlive_its_starter(home: Home, job: ImportJob) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, encode(job).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        child = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
    child.wait(PATIENCE)
    assert files_of_work(home) == []


def test_the_end_of_input_does_not_interrupt_what_cleans_up(home: Home, job: ImportJob) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_TO_CLEAN, encode(job).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        assert any(b'"convert"' in line for line in child.stdout)
        child.stdout.close()  # the next report finds nobody
        assert child.stderr.readline() == b"deletes\n"
        child.stdin.close()
        assert child.wait(PATIENCE) == CANCELLED
    assert files_of_work(home) == []


def test_it_ends_quietly_while_the_starter_still_listens(tmp_path: Path) -> None:
    job = encode(DownloadJob(str(tmp_path), "nowhere")).decode()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cupola.cache.install", job],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        *_, last = map(decode_report, child.stdout)
        assert child.wait(PATIENCE) == 0
        assert child.stderr.read() == b""
    assert isinstance(last, InstallFailed)
    assert last.code is CacheErrorCode.UNKNOWN_MODEL and "nowhere" in last.message
