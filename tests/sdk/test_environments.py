"""A client that cannot be had skips a test, and fails it where clients are required."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.sdk.environments import REQUIRE, install, node_with

NO_INDEX = "ERROR: No matching distribution found for foundry-local-sdk"


def failing(text: str) -> list[str]:
    """An installer that says ``text`` and fails."""
    return [sys.executable, "-c", f"raise SystemExit({text!r})"]


def test_without_an_index_a_test_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="No matching distribution"):
        install(failing(NO_INDEX), tmp_path)


def test_without_an_index_a_required_client_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match="No matching distribution"):
        install(failing(NO_INDEX), tmp_path)


@pytest.mark.parametrize("required", ["0", "1"])
def test_other_failures_are_never_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str
) -> None:
    monkeypatch.setenv(REQUIRE, required)
    with pytest.raises(AssertionError, match="no space left"):
        install(failing("no space left on device"), tmp_path)


def test_without_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no Node\.js"):
        node_with(tmp_path, "any", "any")
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match=r"no Node\.js"):
        node_with(tmp_path, "any", "any")
