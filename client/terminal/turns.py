"""Shows how far a long measurement is: a bar on a terminal, a line a turn elsewhere.

All of it goes to standard error: standard output has the command's result only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown(total: int) -> Iterator[Callable[[str], None]]:
    """Something that hears what each of ``total`` turns is, when it begins."""
    if not sys.stderr.isatty():
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task, begun = bar.add_task("", total=total), 0

        def show(text: str) -> None:
            nonlocal begun
            bar.update(task, description=text, completed=begun)
            begun += 1

        yield show
        bar.update(task, completed=total, description="")


@contextmanager
def share_shown() -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal for something that hears a text and the share that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, share: bar.update(task, description=text, completed=min(1.0, share))
        bar.update(task, completed=1.0, description="")
