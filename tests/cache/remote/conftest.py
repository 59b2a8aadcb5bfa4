from __future__ import annotations

from collections.abc import Iterator

import pytest

from cupola.cache.remote import retry
from tests.faulty_server import Site


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are short, but as many as ever."""
    real = retry.wait_seconds
    monkeypatch.setattr(retry, "wait_seconds", lambda *args: min(0.002, real(*args)))
