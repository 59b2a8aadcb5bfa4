"""Lets the processes of a run share the work of making test modules ready.

pytest rewrites the assertions of every module and keeps the result beside it. Without it, as on a
clean checkout, processes that read modules in the same order rewrite many of them more than
once. So each process begins with another part, and finds most of the rest made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


def import_own_part(config: pytest.Config, left_out: Callable[[Path], bool]) -> None:
    """Imports a part of the modules, if this is one of several processes that run all tests.

    What cannot be imported is reported when it is collected.
    """
    given = getattr(config, "workerinput", None)
    if given is None or [Path(each).name for each in config.args] != ["tests"]:
        return
    number, count = int(given["workerid"].removeprefix("gw")), given["workercount"]
    files = [file for file in sorted((_ROOT / "tests").rglob("test_*.py")) if not left_out(file)]
    for file in files[len(files) * number // count : len(files) * (number + 1) // count]:
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(file.relative_to(_ROOT).with_suffix("").parts))
