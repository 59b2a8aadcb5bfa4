"""Shows how far a download or a conversion is: bars on a terminal, a line a stage elsewhere.

All of it goes to standard error: standard output has the command's result only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cupola.cache.install.messages import InstallProgress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

WAIT = "wait"  # until no other process installs the same model
_TITLES = {
    "download": "Downloading",
    "check": "Checking",
    "convert": "Converting",
    WAIT: "Waiting for another process that installs this model",
}


@contextmanager
def shown() -> Iterator[Callable[[InstallProgress], None]]:
    """Something that shows the progress that it is given, while the block runs."""
    if not sys.stderr.isatty():
        yield _Stages(_Lines())
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskProgressColumn,
        TextColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield _Stages(_BarPerStage(bars))


class _Stages:
    """Leaves out what says nothing: an installation asks for its turn, and has it at once.

    One that waits says so again and again.
    """

    def __init__(self, show: Callable[[InstallProgress], None]) -> None:
        self._show = show
        self._last = ""

    def __call__(self, report: InstallProgress) -> None:
        asks = report.stage == WAIT and self._last != WAIT
        self._last = report.stage
        if not asks:
            self._show(report)


class _BarPerStage:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._stage = ""
        self._task: TaskID | None = None

    def __call__(self, report: InstallProgress) -> None:
        if self._task is None or report.stage != self._stage:
            self._finish()
            self._stage = report.stage
            title = _TITLES.get(report.stage, report.stage)
            self._task = self._bars.add_task(title, total=report.total, pace="")
        self._bars.update(self._task, completed=report.done, total=report.total, pace=report.pace)

    def _finish(self) -> None:
        """A stage ends where the next one begins, even if its length was never known."""
        if self._task is None:
            return
        if self._stage == WAIT:  # it has no length
            self._bars.remove_task(self._task)
        else:
            done = self._bars.tasks[-1].completed
            self._bars.update(self._task, total=done, pace="")


class _Lines:
    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, report: InstallProgress) -> None:
        if report.stage != self._stage:
            self._stage = report.stage
            title = _TITLES.get(report.stage, report.stage)
            print(f"{title}...", file=sys.stderr, flush=True)
