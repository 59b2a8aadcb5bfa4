"""The whole service as a user runs it: its own processes, a real port, a log."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil
from openai import AsyncOpenAI, OpenAI

BREATH = 0.01  # seconds between two questions: who asks takes the processor from who answers
PATIENCE = 60.0  # seconds until a test gives up; nothing here is measured
MODEL = "smollm2-135m"
# What makes later requests fast costs a processor more than most tests' requests do. A second
# thread mostly waits, busily, for one that has no processor while other tests run.
LEAN = {"warm_up": "no", "block_weights_mb": 0, "lane_weights_mb": 0, "threads": 1}


class Service:
    """``python -m cupola.service`` on a free port. Settings are given as keyword arguments.

    ``lean``: a model is run in one way only, by one thread. Users have it otherwise. So have tests
    of what a model answers, and of what runs beside its requests.
    """

    def __init__(self, home: Path, *, lean: object = True, **settings: object) -> None:
        usual = {"port": 0, "model": MODEL, "log_level": "debug"} | (LEAN if lean else {})
        values = {"home": home} | usual | settings
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CUPOLA_")}
        given = {f"CUPOLA_{key.upper()}": str(value) for key, value in values.items()}
        self.home = home
        self.log: list[str] = []
        self._client: OpenAI | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cupola.service"],
            env=clean | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for process in family:
            if process.is_running():
                process.kill()
        self._reader.join(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        while not self._lines.empty():
            self.log.append(self._lines.get() or "")
        print("\n".join(self.log))  # pytest shows it beside a failure

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line of the log that matches. Lines before it are passed over."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.log.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"the service ended without {pattern!r}:\n" + "\n".join(self.log))

    def rest_of_log(self) -> str:
        """Everything up to the service's end."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.log.append(line)
        return "\n".join(self.log)

    def ready(self) -> Service:
        self.url = self.wait_for(r"ready on (http://\S+)")[1]
        return self

    # -- its processes -----------------------------------------------------------------------------

    def family(self) -> list[psutil.Process]:
        """The supervisor and all below it."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def child(self, name: str) -> psutil.Process:
        """A child by its name, e.g. ``worker cpu:0/0``, as the service reports it."""
        processes = httpx2.get(f"{self.url}/ready", timeout=PATIENCE).json()["processes"]
        return psutil.Process(processes[name])

    # -- its clients -------------------------------------------------------------------------------

    def openai(self) -> OpenAI:
        if self._client is None:
            address = f"{self.url}/v1"
            self._client = OpenAI(base_url=address, api_key="none", max_retries=0, timeout=PATIENCE)
        return self._client

    def async_openai(self) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE
        )

    def is_ready(self) -> bool:
        return httpx2.get(f"{self.url}/ready", timeout=PATIENCE).status_code == 200


def counters(service: Service, http: httpx2.Client | None = None) -> dict[str, int]:
    """What /metrics tells."""
    text = (http or httpx2).get(f"{service.url}/metrics", timeout=PATIENCE).text
    return {
        name: round(float(value))
        for name, value in re.findall(r"^(cupola_\S+) ([\d.e+]+)$", text, re.M)
    }


def eventually(check: Callable[[], bool]) -> None:
    """Ask again and again until it is so; each question is a real request."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(BREATH)
