"""How often the disk is read for the model that a request names."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import cast

import pytest

from cupola.cache.catalog import ModelVariant, UnknownModelError
from cupola.cache.store import CachedModel, ModelCache
from cupola.gateway.generation import model_directory
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.errors import ApiError

NAME = "model"


class Disk:
    """A cache of one model. Reading it takes until ``go`` is set."""

    def __init__(self, path: Path) -> None:
        variant = ModelVariant(
            id=f"{NAME}:1", alias=NAME, display_name="", publisher="", license=""
        )
        self.model: CachedModel | None = CachedModel(variant, path)
        self.reads = 0
        self.go = threading.Event()
        self.go.set()

    def find(self, key: str) -> CachedModel:
        self.reads += 1
        self.go.wait()
        if self.model is None:
            raise UnknownModelError(key, [])
        return self.model


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(model_directory, "FRESH", -1.0)  # what was found is old at once
    return Disk(tmp_path)


def test_of_many_requests_one_looks_again(disk: Disk) -> None:
    async def run() -> None:
        directory = ModelDirectory(cast(ModelCache, disk))
        first = await directory.find(NAME)
        disk.go.clear()
        looking = asyncio.create_task(directory.find(NAME))
        await asyncio.sleep(0)
        assert [await directory.find(NAME) for _ in range(20)] == [first] * 20
        disk.go.set()
        assert await looking == first

    asyncio.run(run())
    assert disk.reads == 2


def test_a_model_that_is_no_longer_known_is_forgotten(disk: Disk) -> None:
    async def run() -> None:
        directory = ModelDirectory(cast(ModelCache, disk))
        await directory.find(NAME)
        disk.model = None
        for _ in range(2):
            with pytest.raises(ApiError):
                await directory.find(NAME)

    asyncio.run(run())
    assert disk.reads == 3
