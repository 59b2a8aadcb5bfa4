from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cupola.cache.home import Home
from tests.client.command_line import Cli
from tests.default_model import DEFAULT_MODEL


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def command_line(home: Home) -> Cli:
    """Commands for this folder; services that they start prepare for nothing."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CUPOLA_")}
    environment = {**clean, "CUPOLA_HOME": str(home.root), "CUPOLA_WARM_UP": "no"}
    return Cli(environment, in_process=True)


def echo_services(home: Home) -> Cli:
    """The command line over services that run no model."""
    cli = command_line(home)
    return cli.having(CUPOLA_BACKEND="echo", CUPOLA_PORT="0", CUPOLA_GRACE_SECONDS="1")


def place_model(home: Home) -> str:
    """Makes a folder that looks like the default model to the echo backend and to lists."""
    folder = home.model_folder(DEFAULT_MODEL.publisher, DEFAULT_MODEL.id)
    folder.mkdir(parents=True)
    (folder / "genai_config.json").write_text(
        '{"model": {"type": "llama", "context_length": 8192}, "search": {"max_length": 8192}}'
    )
    (folder / "inference_model.json").write_text(f'{{"Name": "{DEFAULT_MODEL.id}"}}')
    (folder / "model.onnx").write_bytes(b"not read here")
    return DEFAULT_MODEL.id


@pytest.fixture
def cupola(home: Home) -> Cli:
    """The command line, with its own folder."""
    return command_line(home)


@pytest.fixture
def echoing(home: Home) -> Iterator[Cli]:
    """The command line over services that run no model; whatever it started is stopped."""
    cli = echo_services(home)
    yield cli
    if home.daemon_file.exists():
        cli("service", "stop")


@pytest.fixture
def model(home: Home) -> str:
    """The default model, as far as the echo backend and lists see it."""
    return place_model(home)
