"""Apps on other people's frameworks, as they are published, with the real model.

Each is a program of ``programs/`` in an environment of its own: they are heavy, and want other
versions of the same libraries.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.environments import python_with
from tests.service.clients import FRAMEWORKS
from tests.service.conftest import ENCODER
from tests.service.running_service import MODEL, Service

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 300  # for a program, so that a test that waits in vain ends


class App:
    """A program that runs beside the others: most of its time goes by before it asks anything."""

    def __init__(self, python: Path, name: str, *arguments: str) -> None:
        command = [str(python), str(PROGRAMS / name), *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8")

    def told(self) -> dict[str, Any]:
        out, errors = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, out + errors
        told = json.loads(out.strip().splitlines()[-1])
        assert isinstance(told, dict)
        return told


@pytest.fixture(scope="module")
def apps(test_cache: Path, service: Service) -> Iterator[dict[str, App]]:
    python = python_with(test_cache, "frameworks", ["--no-compile", *FRAMEWORKS])
    names = ("langchain", "litellm", "pydantic_ai")
    apps = {name: App(python, f"{name}_app.py", service.url, MODEL, ENCODER) for name in names}
    yield apps
    for app in apps.values():
        app.process.kill()
        app.process.communicate()


def test_langchain(apps: dict[str, App]) -> None:
    told = apps["langchain"].told()
    assert told.pop("vectors") == [384, 384]
    assert told.pop("tool") == "get_weather"
    assert told.pop("stream usage")["output_tokens"] == 8
    assert len(told) == 8
    assert all(told.values()), told


def test_litellm(apps: dict[str, App]) -> None:
    told = apps["litellm"].told()
    assert told.pop("vectors") == [384, 384]
    assert set(told) == {"openai", "anthropic", "ollama_chat"}
    for api, seen in told.items():
        expected = {"chat", "stream", "form"}
        if api != "ollama_chat":  # it cannot require calls
            expected |= {"tool", "after the tool"}
        assert set(seen) == expected
        assert all(seen.values()), (api, seen)


def test_pydantic_ai(apps: dict[str, App]) -> None:
    told = apps["pydantic_ai"].told()
    assert told.pop("vectors") == [384, 384]
    tool = told.pop("tool")
    assert tool["called"] or tool["output"]
    assert set(told) == {"chat", "responses"}
    for endpoint, seen in told.items():
        assert seen and all(seen.values()), (endpoint, seen)
