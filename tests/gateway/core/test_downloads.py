"""Downloads: a failure is told without paths of this machine, and only a few run at once."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace

import pytest

from cupola.cache.errors import CacheErrorCode, NoSpaceError
from cupola.cache.home import Home
from cupola.cache.install.messages import DownloadJob, Installed, InstallFailed, InstallReport
from cupola.cache.install.process import InstallProcess
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


class Slow:
    """Install processes that end when the test says so, also those that are cancelled."""

    def __init__(self) -> None:
        self.running: list[Slow.Process] = []
        self.most = self.started = 0

    def start(self, job: DownloadJob) -> Slow.Process:
        process = Slow.Process(self, job.model)
        self.running.append(process)
        self.started += 1
        self.most = max(self.most, len(self.running))
        return process

    class Process:
        def __init__(self, all_: Slow, model: str) -> None:
            self._all = all_
            self._model = model
            self.may_end = threading.Event()
            self.cancelled = False

        def reports(self) -> Iterator[InstallReport]:
            assert self.may_end.wait(30)
            self._all.running.remove(self)
            yield Installed(self._model, "")

        def cancel(self) -> None:
            self.cancelled = True

        def kill(self) -> None: ...


async def follow(all_: downloads.Downloads, model: str) -> InstallReport:
    async with aclosing(all_.follow(model, False)) as reports:
        async for batch in reports:
            last = batch[-1]
    return last


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.01)


def test_few_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All others wait, end in their turn, and are not begun where nobody waits any more."""
    slow = Slow()
    monkeypatch.setattr(downloads, "InstallProcess", slow)
    most = downloads.MOST_AT_ONCE

    async def flood() -> list[InstallReport | BaseException]:
        all_ = downloads.Downloads(Home(HOME))
        tasks = [asyncio.create_task(follow(all_, f"hf:o/{n}")) for n in range(5 * most)]
        await until(lambda: len(slow.running) == most)
        await asyncio.sleep(0.05)
        assert len(slow.running) == most
        for task in tasks[2 * most : 3 * most]:  # of those that wait
            task.cancel()
        tasks[0].cancel()  # its process takes time to end, and keeps its turn
        await until(lambda: slow.running[0].cancelled)
        assert len(slow.running) == most
        while not all(task.done() for task in tasks):
            for process in slow.running:
                process.may_end.set()
            await asyncio.sleep(0.01)
        return await asyncio.gather(*tasks, return_exceptions=True)

    ends = asyncio.run(flood())
    assert slow.most == most
    assert slow.started == 4 * most
    assert sum(isinstance(end, Installed) for end in ends) == 4 * most - 1


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(job: DownloadJob) -> InstallProcess:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(downloads, "InstallProcess", SimpleNamespace(start=start))

    async def both() -> list[InstallReport]:
        all_ = downloads.Downloads(Home(HOME))
        return [await follow(all_, "hf:o/a"), await follow(all_, "hf:o/a")]

    for end in asyncio.run(both()):
        assert isinstance(end, InstallFailed) and "try again later" in end.message
