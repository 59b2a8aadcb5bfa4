"""What clients are told of a failed download shows no path of this machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cupola.cache.errors import CacheErrorCode, NoSpaceError
from cupola.cache.home import Home
from cupola.cache.install.messages import InstallFailed, InstallReport
from cupola.gateway.core import downloads

HOME = Path("/home/ann b/.foundry")


class Failing:
    """An install process that fails with a message."""

    def __init__(self, message: str) -> None:
        self._message = message

    def reports(self) -> Iterator[InstallReport]:
        yield InstallFailed(CacheErrorCode.OTHER, self._message)

    def cancel(self) -> None: ...

    def kill(self) -> None: ...


def told(message: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a follower of the download gets."""
    process = SimpleNamespace(start=lambda job: Failing(message))
    monkeypatch.setattr(downloads, "InstallProcess", process)

    async def follow() -> str:
        async for batch in downloads.Downloads(Home(HOME)).follow("tiny:1", False):
            result = batch[-1]
            if isinstance(result, InstallFailed):
                return result.message
        raise AssertionError("no result came")

    return asyncio.run(follow())


@pytest.mark.parametrize(
    "message",
    [
        str(NoSpaceError(str(HOME), 200_000_000, 1)),
        f"{HOME}/cache/models/Maker/tiny-1 is being downloaded by another program; remove it first",
        f"The model is fetched with pip, and {sys.executable} has none.",
        "Could not fetch tiny==1: pip could not get it (pip says: [Errno 13] Permission denied: "
        "'/var/tmp/pip-unpack-1/tiny.whl')",
    ],
)
def test_no_path_of_the_machine(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = told(message, monkeypatch)
    assert str(HOME.parent) not in text and "/var" not in text
    assert str(Path(sys.executable).parent) not in text
    assert text.split()[-1] == message.split()[-1] or "tiny.whl" in text


def test_addresses_and_commands_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "Could not reach https://index.example.org/simple/tiny/; see: pip config list"
    assert told(message, monkeypatch) == message
