"""A machine with Cupola on its PATH, and programs that use other people's clients on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cupola.cache.home import Home
from tests.default_model import DEFAULT_MODEL
from tests.sdk.environments import unavailable

SECONDS = 300  # for any program, so that a test that waits in vain ends
PROGRAMS = Path(__file__).parent / "programs"
FOUNDRY = Path(sys.executable).parent / ("foundry.exe" if os.name == "nt" else "foundry")


@dataclass(frozen=True)
class Machine:
    """Runs programs in an environment where ``foundry`` is Cupola."""

    environment: Mapping[str, str]
    home: Home

    def foundry(self, *arguments: str) -> str:
        return self._run([str(FOUNDRY), *arguments]).stdout

    def program(self, interpreter: Path | str, name: str, *arguments: str) -> dict[str, Any]:
        """The last line that a program of ``programs/`` prints, which is JSON."""
        done = self._run([str(interpreter), str(PROGRAMS / name), *arguments])
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout.strip().splitlines()[-1])
        assert isinstance(told, dict)
        return told

    def having(self, **variables: str) -> Machine:
        return Machine({**self.environment, **variables}, self.home)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            env=self.environment,
            cwd=self.home.root,
            timeout=SECONDS,
        )


@pytest.fixture
def place_fake() -> Callable[[Home], str]:
    """Puts a folder that looks like the default model where the echo backend finds it."""

    def place(home: Home) -> str:
        folder = home.model_folder(DEFAULT_MODEL.publisher, DEFAULT_MODEL.id)
        folder.mkdir(parents=True)
        (folder / "genai_config.json").write_text(
            '{"model": {"type": "llama", "context_length": 8192}, "search": {"max_length": 8192}}'
        )
        (folder / "inference_model.json").write_text(f'{{"Name": "{DEFAULT_MODEL.id}"}}')
        (folder / "model.onnx").write_bytes(b"not read here")
        return DEFAULT_MODEL.id

    return place


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose service is stopped; what a test starts on it is stopped at its end."""
    if not FOUNDRY.exists():
        unavailable("the command `foundry` is not installed in this environment")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CUPOLA_", "OPENAI_"))}
    home = Home(tmp_path / "home")
    home.root.mkdir()
    settings = {
        "CUPOLA_HOME": str(home.root),
        "CUPOLA_PORT": "0",
        "CUPOLA_BACKEND": "echo",
        "CUPOLA_MODEL": "",  # nothing is loaded but by request
        "CUPOLA_GRACE_SECONDS": "1",
        "PATH": os.pathsep.join([str(FOUNDRY.parent), clean.get("PATH", "")]),
    }
    made = Machine(clean | settings, home)
    yield made
    made.foundry("service", "stop")
