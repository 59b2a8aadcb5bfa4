"""The service's life through its commands: real processes and a real port, without a model."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from cupola.cache.home import Home
from cupola.client.daemon import log_file
from cupola.client.terminal import failures
from cupola.service.output.log_file import MAX_BYTES, older
from tests.client.command_line import COMMAND, LONGEST, Cli, bounded

# What the SDKs of Foundry Local look for.
URL = re.compile(r"http://(?:[a-zA-Z0-9.-]+|\d{1,3}(?:\.\d{1,3}){3}):\d+")
LATER_SDK = re.compile(r"is running on (http://.*)\s+")
STARTED = re.compile(r"🟢 Service is Started on (http://127\.0\.0\.1:\d+)/, PID (\d+)!\n")

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def echoing(echoing: Cli) -> Cli:
    """Each command is a process, as users' are."""
    return echoing.as_processes()


def processes_of(home: Home) -> list[int]:
    """Processes, in whatever role, of the service of this folder."""
    mark = f"CUPOLA_HOME={home.root}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_a_life(echoing: Cli, home: Home) -> None:
    begun = STARTED.fullmatch(echoing.ok("service", "start"))
    assert begun
    url, pid = begun[1], int(begun[2])
    status = echoing.ok("service", "status")
    assert status.splitlines() == [
        f"🟢 Model management service is running on {url}/openai/status",
        "EP autoregistration status: Valid EPs: CPUExecutionProvider",
    ]
    assert URL.search(status)[0] == url  # type: ignore[index]
    assert LATER_SDK.search(status)
    record = json.loads(echoing.ok("service", "status", "-o", "json"))
    assert (record["running"], record["pid"], record["webUrls"]) == (True, pid, [url])
    assert record["state"] in ("starting", "ready")
    assert Path(record["logFile"]).exists()
    assert datetime.fromisoformat(record["startedAt"]).tzinfo is not None
    assert re.fullmatch(r"(\d+h )?(\d+m )?\d+s", record["uptime"])
    assert echoing.ok("service", "start") == f"🟢 Service is already running on {url}/.\n"
    assert echoing.ok("service", "logs")
    assert echoing.ok("service", "stop") == "🔴 Service is stopped.\n"
    assert not home.daemon_file.exists()


@linux
def test_its_log_is_private_and_does_not_grow_for_ever(echoing: Cli, home: Home) -> None:
    log = log_file(home)
    log.parent.mkdir(parents=True)
    log.touch(mode=0o644)  # as an earlier version made it
    echoing.ok("service", "start")
    assert log.stat().st_mode & 0o777 == 0o600
    with log.open("ab") as stream:
        stream.write(b"x" * (MAX_BYTES + 1))
    moved = older(log, 1)
    deadline = time.monotonic() + LONGEST
    while not moved.exists() or log.stat().st_size > MAX_BYTES:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert moved.stat().st_mode & 0o777 == 0o600
    assert moved.stat().st_size > MAX_BYTES
    assert json.loads(echoing.ok("service", "status", "-o", "json"))["logFile"] == str(log)


@linux
def test_a_start_on_a_full_disk_leaves_no_service_that_nobody_finds(
    echoing: Cli, home: Home
) -> None:
    """The limit on files is in the place of the full disk."""
    limit = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (0, 0)); "
    command = "from cupola.client.commands.main import main; sys.argv[1:] = ['service', 'start']"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {limit}{command}; main()"],
        env=echoing.environment,
        capture_output=True,
        encoding="utf-8",
        timeout=LONGEST,
    )
    assert done.returncode == 1
    assert "ended while it started" in done.stderr and "Traceback" not in done.stderr
    assert processes_of(home) == []


def test_a_start_without_a_folder_to_write_says_what_to_do(cupola: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()  # nothing can be made below it, also not by root
    for command in (["service", "start"], ["server", "start", "--port", "0"]):
        text = cupola.having(CUPOLA_HOME=str(file / "home")).refused(*command)
        assert f"The folder {file / 'home'} cannot be written" in text
        assert "--home" in text and "cupola serve" in text


@pytest.mark.parametrize(
    ("code", "words"),
    [("EACCES", "right to write"), ("EROFS", "right to write"), ("ENOSPC", "Make room")],
)
def test_what_cannot_be_written_is_told_with_what_to_do(code: str, words: str) -> None:
    number = getattr(errno, code)
    told = failures.words(OSError(number, os.strerror(number), "/data/cupola.toml.new"))
    assert told is not None
    message, hint = told
    assert message == f"/data/cupola.toml.new: {os.strerror(number)}"
    assert words in hint and "--home" in hint


@linux
def test_a_stop_leaves_no_process(echoing: Cli, home: Home) -> None:
    echoing.ok("service", "start")
    assert len(processes_of(home)) > 3
    echoing.ok("service", "stop")
    assert processes_of(home) == []


def test_status_without_a_service(cupola: Cli) -> None:
    cupola = cupola.having(CUPOLA_PORT="0")
    text = cupola.ok("service", "status")
    assert text == (
        "🔴 Model management service is not running!\n"
        "To start the service, run the following command: foundry service start\n"
    )
    assert not URL.search(text)
    assert json.loads(cupola.ok("service", "status", "-o", "json")) == {
        "running": False,
        "state": "not_running",
    }
    assert cupola.ok("service", "stop") == "🔴 Service is not running.\n"


def test_a_killed_service_is_not_taken_for_a_running_one(echoing: Cli, home: Home) -> None:
    first = STARTED.fullmatch(echoing.ok("service", "start"))
    assert first
    os.kill(int(first[2]), signal.SIGKILL)
    assert home.daemon_file.exists()
    # Its children end by themselves; until then the port may be open, but nobody answers there.
    again = STARTED.fullmatch(echoing.ok("service", "start"))
    assert again
    assert again[2] != first[2]


def test_restart(echoing: Cli) -> None:
    first = STARTED.fullmatch(echoing.ok("service", "start"))
    head, stopped, started = echoing.ok("service", "restart").splitlines(keepends=True)
    assert (head, stopped) == ("Restarting service...\n", "🔴 Service is stopped.\n")
    second = STARTED.fullmatch(started)
    assert first
    assert second
    assert first[2] != second[2]


def test_json_of_start_and_stop(echoing: Cli) -> None:
    record = json.loads(echoing.ok("service", "start", "-o", "json"))
    assert record == {
        "running": True,
        "webUrls": [f"http://127.0.0.1:{record['port']}"],
        "port": record["port"],
        "idleTimeoutMinutes": 10,
    }
    assert json.loads(echoing.ok("service", "stop", "-o", "json")) == {
        "success": True,
        "message": "Server stopped.",
    }


def test_two_starts_at_once_give_one_service(echoing: Cli, home: Home) -> None:
    starts = [
        subprocess.Popen(
            [*COMMAND, "service", "start"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=echoing.environment,
        )
        for _ in range(2)
    ]
    said = [start.communicate()[0] for start in starts]
    assert len([text for text in said if STARTED.fullmatch(text)]) == 1
    assert len({URL.search(text)[0] for text in said}) == 1  # type: ignore[index]


def test_a_start_that_fails_says_why(echoing: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        # It listens and never answers: a start must not take it for a service.
        text = echoing.refused("service", "start", "--port", port)
    assert f"port {port} is in use" in text


def test_a_caller_that_waits_for_the_end_of_the_output_is_not_held(echoing: Cli) -> None:
    # subprocess.run reads to the end of both pipes: it would hang if the service had them.
    assert STARTED.fullmatch(echoing("service", "start").stdout)


def test_serve_in_the_foreground(echoing: Cli, home: Home) -> None:
    with (
        subprocess.Popen(
            [*COMMAND, "serve"], stdout=subprocess.PIPE, encoding="utf-8", env=echoing.environment
        ) as service,
        bounded(service),
    ):
        assert service.stdout is not None
        ready = next(line for line in service.stdout if URL.search(line))
        assert json.loads(home.daemon_file.read_text())["pid"] == service.pid
        status = echoing.ok("service", "status")
        assert URL.search(status)[0] == URL.search(ready)[0]  # type: ignore[index]
        service.send_signal(signal.SIGINT)
        assert service.wait() == 0
    assert not home.daemon_file.exists()
