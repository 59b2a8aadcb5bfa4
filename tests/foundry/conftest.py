"""Whole services with the echo backend: what is tested is what Foundry Local's clients see."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from cupola.cache.home import Home
from tests.default_model import DEFAULT_MODEL
from tests.foundry.wire import PATIENCE
from tests.service.running_service import Service

MODEL_ID = DEFAULT_MODEL.id
ALIAS = DEFAULT_MODEL.alias


def place(home: Path, model_id: str, publisher: str = "Microsoft", provider: str = "cpu") -> None:
    """A folder that looks like a downloaded model. The echo backend reads none of it."""
    folder = Home(home).model_folder(publisher, model_id)
    folder.mkdir(parents=True)
    options: list[dict[str, dict[str, str]]] = [] if provider == "cpu" else [{provider: {}}]
    decoder = {"session_options": {"provider_options": options}}
    config = {
        "model": {"type": "llama", "context_length": 8192, "decoder": decoder},
        "search": {"max_length": 8192},
    }
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "inference_model.json").write_text(
        json.dumps({"Name": model_id, "PromptTemplate": None})
    )
    (folder / "model.onnx").write_bytes(b"not read here")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of the test's own and ends them. ``home`` is an empty folder by default."""
    with ExitStack() as stack:

        def begin(**settings: object) -> Service:
            values = {"backend": "echo", "model": ""} | settings
            home = Path(str(values.pop("home", tmp_path)))
            return stack.enter_context(Service(home, **values)).ready()

        yield begin


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service with the default model, for tests that leave it as it was."""
    home = tmp_path_factory.mktemp("home")
    place(home, MODEL_ID, DEFAULT_MODEL.publisher)
    with Service(home, backend="echo", model="") as service:
        yield service.ready()


@pytest.fixture(scope="session")
def shared_without_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("bare"), backend="echo", model="") as service:
        yield service.ready()


@pytest.fixture
def bare(shared_without_models: Service) -> Iterator[Service]:
    """A service that has no models but those that the test places in its home."""
    yield shared_without_models
    home = Home(shared_without_models.home)
    with client(shared_without_models) as http:
        http.get("/openai/unloadall")
    shutil.rmtree(home.models, ignore_errors=True)


@pytest.fixture
def http(shared: Service) -> Iterator[httpx2.Client]:
    with client(shared) as http:
        yield http
        http.get("/openai/unloadall")


def client(service: Service) -> httpx2.Client:
    return httpx2.Client(base_url=service.url, timeout=PATIENCE)
