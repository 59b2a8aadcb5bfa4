"""Shows how far a download or a conversion is: bars on a terminal, a line a stage elsewhere.

All of it goes to standard error, so that a command's output stays what it was asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cupola.cache.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_TITLES = {
    "download": "Downloading",
    "check": "Checking",
    "convert": "Converting",
    "wait": "Waiting for another download",
}


@contextmanager
def shown() -> Iterator[Progress]:
    """A Progress that shows itself while the block runs."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield _BarPerStage(bars)


class _BarPerStage:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage not in self._tasks:
            self._finish()
            self._tasks[stage] = self._bars.add_task(_TITLES.get(stage, stage), total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def _finish(self) -> None:
        """A stage ends where the next begins, even if its length was never known."""
        for task in self._bars.tasks:
            self._bars.update(task.id, total=task.completed)


class _Lines:
    def __init__(self) -> None:
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if stage != self._stage:
            self._stage = stage
            size = f" {total / 1e6:.0f} MB" if total else ""
            print(f"{_TITLES.get(stage, stage)}{size} ...", file=sys.stderr, flush=True)
