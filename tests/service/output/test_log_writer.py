"""Nobody waits for who reads the log."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from cupola.service.output.log_writer import MOST_WAITING, LogWriter
from tests.service.running_service import PATIENCE, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sizes of pipes")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
    yield ends
    for end in ends:
        os.close(end)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("name", logging.INFO, "file.py", 1, message, (), None)


def read_until(end: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += os.read(end, 65536)
    return seen


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_that_nobody_reads_are_lost_and_counted(
    pipe: tuple[int, int], blocking: bool
) -> None:
    reader, end = pipe
    os.set_blocking(end, blocking)
    writer = LogWriter(end)
    count = 3 * MOST_WAITING
    for number in range(count):  # comes to its end although nobody reads
        writer.handle(record(f"line {number:06} {'.' * 100}"))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_until, reader, b"goes on\n")
        writer.flush()
        writer.handle(record("goes on"))
        *lines, last = reading.result(PATIENCE).splitlines()
    assert last == b"goes on"
    kept = [int(line.split()[1]) for line in lines if line.startswith(b"line")]
    lost = [int(line.split()[0]) for line in lines if b"lines were lost" in line]
    assert kept == sorted(kept) and len(kept) >= MOST_WAITING
    assert lost and len(kept) + sum(lost) == count


def test_all_is_written_at_the_end(pipe: tuple[int, int]) -> None:
    reader, end = pipe
    writer = LogWriter(end)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_until, reader, b"99\n")
        for number in range(100):
            writer.handle(record(f"{number}"))
        writer.flush()
        assert reading.result(PATIENCE) == b"".join(b"%d\n" % number for number in range(100))


def test_a_process_that_ends_has_written_its_log() -> None:
    code = (
        "import logging; from cupola.service.output.logs import LogOptions, configure; "
        "configure(LogOptions('info'), 'test'); [logging.info('line %d', n) for n in range(150)]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 150


def test_a_reader_that_has_gone_costs_nothing(pipe: tuple[int, int]) -> None:
    other_reader, other_end = os.pipe()
    os.close(other_reader)
    writer = LogWriter(other_end)
    for number in range(10):
        writer.handle(record(str(number)))
    writer.flush()
    os.close(other_end)


# -- the whole service -----------------------------------------------------------------------------


def start(tmp_path: Path, end: int, **options: str) -> subprocess.Popen[bytes]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CUPOLA_")}
    settings = {"HOME": str(tmp_path), "PORT": "0", "MODEL": "", "BACKEND": "echo"} | options
    given = {f"CUPOLA_{key}": value for key, value in settings.items()}
    command = [sys.executable, "-m", "cupola.service"]
    return subprocess.Popen(command, env=clean | given, stdout=end, stderr=end)


@pytest.mark.slow
def test_a_service_whose_log_nobody_reads_goes_on(tmp_path: Path, pipe: tuple[int, int]) -> None:
    """Longer than the time after which the supervisor kills what makes no progress."""
    import json

    stall = 5.0
    service = start(tmp_path, pipe[1], STALL_SECONDS=f"{stall:g}", LOG_LEVEL="debug")
    try:
        eventually((tmp_path / "daemon.json").exists)
        url = json.loads((tmp_path / "daemon.json").read_text())["web_urls"][0]

        def processes() -> dict[str, int]:
            answer = httpx2.get(f"{url}/ready", timeout=PATIENCE).json()
            return dict(answer["processes"])

        eventually(lambda: httpx2.get(f"{url}/ready", timeout=PATIENCE).status_code == 200)
        before = processes()
        until = time.monotonic() + 2 * stall
        asked = 0
        while time.monotonic() < until:
            assert httpx2.get(f"{url}/v1/models/{asked}", timeout=PATIENCE).status_code == 404
            asked += 1
            time.sleep(0.01)
        assert asked * 80 > 4096  # more than the pipe holds
        assert processes() == before
        assert service.poll() is None
    finally:
        service.terminate()
        assert service.wait(PATIENCE) == 0
