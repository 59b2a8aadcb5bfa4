"""Which data folder a command means, without the cost of loading all settings."""

from __future__ import annotations

import os
from pathlib import Path

from cupola.cache.home import Home

VARIABLE = "CUPOLA_HOME"


def current() -> Home:
    """The folder that ``CUPOLA_HOME`` names, or the default. The settings give the same one."""
    named = os.environ.get(VARIABLE)
    return Home(Path(named).expanduser().absolute()) if named else Home.default()


def is_set() -> bool:
    """Whether the folder was chosen."""
    return bool(os.environ.get(VARIABLE))
