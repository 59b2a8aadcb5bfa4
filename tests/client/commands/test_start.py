"""The start: one service, its address known before it can serve, and no early request lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from cupola.cache.home import Home
from cupola.cache.system.locks import file_lock
from tests.client.command_line import COMMAND, LONGEST, Cli

pytestmark = pytest.mark.slow

URL = re.compile(r"http://(?:[a-zA-Z0-9.-]+|\d{1,3}(?:\.\d{1,3}){3}):\d+")


@pytest.fixture
def echoing(echoing: Cli) -> Cli:
    """Each command is a process, as users' are."""
    return echoing.as_processes()


def url_in(text: str) -> str:
    found = URL.search(text)
    assert found, text
    return found[0]


linux = pytest.mark.skipif(sys.platform != "linux", reason="stops and goes on with signals")


def test_a_status_during_a_start_waits_for_its_end(echoing: Cli, home: Home) -> None:
    with file_lock(home.root / "start.lock"):  # as a start holds it
        status = subprocess.Popen(
            [*COMMAND, "service", "status"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=echoing.environment,
        )
        service = subprocess.Popen(
            [sys.executable, "-m", "cupola.service"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=echoing.environment,
        )
        assert service.stdout is not None
        ready = next(line for line in service.stdout if "ready on" in line)
    try:
        output = status.communicate(timeout=LONGEST)[0]
        assert url_in(output) == url_in(ready)
    finally:
        service.send_signal(signal.SIGINT)
        service.communicate(timeout=LONGEST)


def test_many_clients_that_start_it_at_once_share_one_service(echoing: Cli) -> None:
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: echoing.ok("service", "start"), range(4)))
    assert len({url_in(text) for text in outputs}) == 1
    assert sum("is Started" in text for text in outputs) == 1


def test_a_request_that_comes_before_a_worker_is_ready_waits(
    echoing: Cli, model: str, home: Home
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cupola.service"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=echoing.environment,
    ) as service:
        assert service.stdout is not None
        try:
            while not home.daemon_file.exists():
                assert service.poll() is None
            url = json.loads(home.daemon_file.read_text())["web_urls"][0]
            # Nothing but the port is there by now; the connection waits in it.
            answer = httpx2.post(
                f"{url}/v1/chat/completions",
                json={"model": model, "messages": [{"role": "user", "content": "patience"}]},
                timeout=LONGEST,
                trust_env=False,
            )
            assert answer.status_code == 200, answer.text
            assert "patience" in answer.json()["choices"][0]["message"]["content"]
        finally:
            service.send_signal(signal.SIGINT)
            service.communicate(timeout=LONGEST)


@linux
def test_what_hangs_is_not_called_running(echoing: Cli) -> None:
    echoing.ok("service", "start")
    pid = json.loads(echoing.ok("service", "status", "-o", "json"))["pid"]
    family = [pid, *children_of(pid)]
    for each in family:
        os.kill(each, signal.SIGSTOP)
    try:
        text = echoing.ok("service", "status")
        assert "does not answer" in text
        assert not URL.search(text)
    finally:
        for each in family:
            os.kill(each, signal.SIGCONT)
    assert URL.search(echoing.ok("service", "status"))


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_stop_lets_answers_finish(echoing: Cli, model: str) -> None:
    patient = echoing.having(CUPOLA_GRACE_SECONDS="30")
    url = json.loads(patient.ok("service", "start", "-o", "json"))["webUrls"][0]
    prompt = " ".join(f"word{number}" for number in range(2000))
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
    with (
        httpx2.Client(base_url=url, timeout=LONGEST, trust_env=False) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        assert "word" in next(line for line in lines if "word" in line)
        stop = subprocess.Popen([*COMMAND, "service", "stop"], env=patient.environment)
        rest = [line for line in lines if line]
    assert stop.wait(LONGEST) == 0
    assert rest[-1] == "data: [DONE]"
    assert "word1999" in "".join(rest)
