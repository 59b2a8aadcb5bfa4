"""Starts other servers by name, from the folder that ``CUPOLA_PEERS`` names.

| name | needs there |
|---|---|
| llama-q8_0, ... (``LLAMA``) | ``llama/build/bin/llama-server``, and a GGUF in ``model/`` |
| foundry | ``foundry/venv`` with Foundry Local's SDK, ``foundry/data`` with a cached model |
| openvino | ``openvino`` with OpenVINO GenAI and aiohttp; it reads a Q4_1 GGUF in ``model/`` |
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx2

from cupola.loadtests.host.own_service import DidNotStart, free_port
from cupola.workers.device.machine import cores

VARIABLE = "CUPOLA_PEERS"
LLAMA = ("llama-q8_0", "llama-q4_0", "llama-q4_k_m", "llama-q4_1")
NAMES = (*LLAMA, "foundry", "openvino")
SLOTS, SLOT_TOKENS = 16, 2048  # of llama-server
READY_SECONDS = 180
_STOP_SECONDS = 30
_PROGRAMS = Path(__file__).parent


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the peers are. Raises DidNotStart."""
    place = environment.get(VARIABLE)
    if not place or not Path(place).is_dir():
        raise DidNotStart(
            f"--peers needs {VARIABLE}: the folder in which other servers are built. "
            "docs/performance.md says what it needs."
        )
    return Path(place)


def command(name: str, place: Path, port: int, threads: int) -> list[str]:
    """How a peer is started. Raises DidNotStart for what is not there."""
    if name in LLAMA:
        model = _gguf(place, name.removeprefix("llama-"))
        server = _there(place / "llama" / "build" / "bin" / "llama-server")
        sizes = ["-t", f"{threads}", "-tb", f"{threads}", "-np", f"{SLOTS}"]
        context = ["-c", f"{SLOTS * SLOT_TOKENS}", "--offline"]
        at = ["--host", "127.0.0.1", "--port", f"{port}"]
        return [str(server), "-m", str(model), "-a", name, *at, *sizes, *context]
    if name == "foundry":
        python = _there(place / "foundry" / "venv" / "bin" / "python")
        data = _there(place / "foundry" / "data")
        return [str(python), str(_PROGRAMS / "foundry_peer.py"), str(data), f"{port}"]
    if name == "openvino":
        python = _there(place / "openvino" / "bin" / "python")
        model = _gguf(place, "q4_1")
        return [str(python), str(_PROGRAMS / "openvino_peer.py"), str(model), f"{port}"]
    raise DidNotStart(f"no peer is called {name}: take one of {', '.join(NAMES)}")


class Peer:
    """A running peer."""

    def __init__(self, name: str, place: Path, more: Sequence[str] = ()) -> None:
        """``more``: options of its program. Raises DidNotStart."""
        port = free_port()
        self.name, self.url = name, f"http://127.0.0.1:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 until ``stop``
        self._process = subprocess.Popen(
            [*command(name, place, port, cores()), *more],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Raises DidNotStart, with the end of its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(httpx2.HTTPError):
                path = "/health" if self.name in LLAMA else "/v1/models"
                if httpx2.get(f"{self.url}{path}", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.3)
        self._log.seek(0)
        last = self._log.read()[-500:].decode("utf-8", "replace").strip()
        raise DidNotStart(f"{self.name} did not start: {last or 'it says nothing'}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _gguf(place: Path, precision: str) -> Path:
    for path in sorted((place / "model").glob("*.gguf")):
        if path.stem.lower().endswith(precision):
            return path
    raise DidNotStart(f"there is no GGUF of {precision} in {place / 'model'}")


def _there(path: Path) -> Path:
    if not path.exists():
        raise DidNotStart(f"{path} is not there: build that peer first")
    return path
