"""The port that has Ollama's API only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ollama
import pytest

from tests.gateway import running_gateway
from tests.gateway.running_gateway import MODEL_ID, WAIT, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

pytestmark = pytest.mark.slow


@pytest.fixture
def gateway(
    scheduler: ScriptedScheduler, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    """A gateway whose one port is the second one."""
    config_for = running_gateway.config_for

    def with_port(*args: object, **changes: object) -> object:
        config = config_for(*args, **changes)  # type: ignore[arg-type]
        return replace(config, ollama_port=config.port)

    monkeypatch.setattr(running_gateway, "config_for", with_port)
    with RunningGateway(scheduler.endpoint, home) as gateway:
        yield gateway


def test_official_client(gateway: RunningGateway) -> None:
    client = ollama.Client(host=gateway.url, timeout=WAIT)
    assert [model.model for model in client.list().models] == [MODEL_ID]
    client.close()


def test_only_ollamas(gateway: RunningGateway) -> None:
    with gateway.http() as http:
        assert http.get("/").text == "Ollama is running"
        assert http.head("/").status_code == 200
        for path in ("/v1/models", "/v1/messages", "/shutdown", "/models/loaded", "/apix"):
            answer = http.get(path)
            assert answer.status_code == 404
            assert "error" in answer.json()


def test_the_other_port_has_all(scheduler: ScriptedScheduler, home: Path) -> None:
    with (
        RunningGateway(scheduler.endpoint, home, ollama_port=1) as gateway,
        gateway.http() as http,
    ):
        for path in ("/v1/models", "/api/tags"):
            assert http.get(path).status_code == 200
