"""Services for the end-to-end tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from tests.service.running_service import MODEL, Service

ENCODER = "all-minilm-l6-v2"
WHISPER = "whisper-tiny.en"
THINKER = "smollm2-thinker"


@pytest.fixture(scope="session")
def place_model(real_model: Home) -> Callable[[Path], Path]:
    """Puts the default model into a home folder."""

    def place(home: Path) -> Path:
        folder = ModelCache(real_model).find(MODEL).path
        target = Home(home).models / folder.relative_to(real_model.models)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, target)  # a copy, because some tests damage it
        return target

    return place


@pytest.fixture(scope="session")
def service(
    place_model: Callable[[Path], Path], real_encoder: Home, real_whisper: Home, tmp_path_factory
) -> Iterator[Service]:
    """One service with the real models, for tests that do not hurt it."""
    home = tmp_path_factory.mktemp("home")
    place_thinker(place_model(home))
    for cache, name in ((real_encoder, ENCODER), (real_whisper, WHISPER)):
        path = ModelCache(cache).find(name).path
        shutil.copytree(path, Home(home).models / path.relative_to(cache.models))
    with Service(home, lean=False) as running:  # with all that users have
        yield running.ready()


def place_thinker(model: Path) -> None:
    """The same model once more, as one that thinks: its first sentence counts as reasoning."""
    folder = model.parent / f"{THINKER}-generic-cpu-1"
    shutil.copytree(model, folder, copy_function=os.link)
    for name, content in (
        ("inference_model.json", {"Name": f"{THINKER}-generic-cpu:1", "PromptTemplate": None}),
        (
            "cupola.json",
            {"reasoning": [{"start": "<think>", "end": "."}], "starts_in_reasoning": True},
        ),
    ):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(json.dumps(content), "utf-8")


@pytest.fixture
def start(place_model: Callable[[Path], Path], tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of the test's own, with the real model, and ends them."""
    with ExitStack() as stack:

        def begin(**settings: object) -> Service:
            if not (tmp_path / "cache").exists():
                place_model(tmp_path)
            return stack.enter_context(Service(tmp_path, **settings))

        yield begin
