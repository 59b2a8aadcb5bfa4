"""One log for all processes of the service, on standard error."""

from __future__ import annotations

import logging
import sys


def configure(level: str, process: str) -> None:
    """Log to standard error. ``process``: its name in every line, e.g. ``worker cpu:0/0``."""
    form = f"%(asctime)s %(levelname)-7s {process:<16} %(message)s"
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=form, force=True)
    if sys.stderr is not None and hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8", errors="replace")
