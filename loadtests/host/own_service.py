"""A service of one's own, for a measurement: on a free port, with its own settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

READY_SECONDS = 600
_STOP_SECONDS = 60
_LOG_LINES = 3


class DidNotStart(Exception):
    """A process that was to serve: what happened, and the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def borrowed_home(home: Path, folder: Path) -> Path:
    """A data folder in ``folder`` with the models and the settings of another.

    A data folder serves one service at a time, and several may be measured side by side. ``home``
    itself where links to folders are not allowed.
    """
    own = folder / "home"
    (own / "cache").mkdir(parents=True)
    (home / "cache" / "models").mkdir(parents=True, exist_ok=True)
    try:
        (own / "cache" / "models").symlink_to(home.absolute() / "cache" / "models", True)
    except OSError:
        return home
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(home / "cupola.toml", own / "cupola.toml")
    return own


class OwnService:
    """``settings`` are Cupola's, by name. The log goes to a file in ``logs``."""

    def __init__(
        self, home: Path, logs: Path, settings: Mapping[str, object] | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {f"CUPOLA_{key.upper()}": str(value) for key, value in (settings or {}).items()}
        own = {"CUPOLA_HOME": str(home), "CUPOLA_PORT": str(self.port)}
        self._log = (logs / "service.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cupola.service"],
            env={**os.environ, **given, **own},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> OwnService:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Raises DidNotStart."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{self.url}/ready", timeout=5, trust_env=False).is_success:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        text = "has ended" if self.process.poll() is not None else f"is not ready after {seconds} s"
        raise DidNotStart(f"the service {text}; its log ends with: {self._end_of_log()}")

    def _end_of_log(self) -> str:
        try:
            text = Path(self._log.name).read_text("utf-8", "replace")
        except OSError:
            return "nothing"
        return " / ".join(text.strip().splitlines()[-_LOG_LINES:]) or "nothing"

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
