"""The log file of a service in the background: the supervisor keeps it small.

All processes of the service write to one open file, also what libraries print. So it is not renamed
but copied and emptied: whoever appends to it goes on at its new end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
OLDER = 3  # files that are kept besides it


def own_log(folder: Path) -> Path | None:
    """The file in ``folder`` that this process's standard error goes to, if there is one.

    The output of a service in the foreground is the user's: it is never cut.
    """
    try:
        output = os.fstat(sys.stderr.fileno())
        files = [path for path in folder.glob("cupola-*.log") if path.is_file()]
        return next((path for path in files if os.path.samestat(output, path.stat())), None)
    except (OSError, ValueError, AttributeError):
        return None


def older(log: Path, number: int) -> Path:
    """The name of an older part of a log: 1 is the newest. It sorts before the log itself."""
    return log.with_name(f"{log.stem}.{number}{log.suffix}")


def rotate(log: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Move what is in the log to ``older(log, 1)`` if it is too long; whether it was.

    On a full disk what is in the log is given up. Raises OSError if it cannot even be emptied.
    """
    if log.stat().st_size <= max_bytes:
        return False
    try:
        for number in range(OLDER, 1, -1):
            if older(log, number - 1).exists():
                older(log, number - 1).replace(older(log, number))
        _copy_and_empty(log, older(log, 1))
    except OSError:
        older(log, 1).unlink(missing_ok=True)  # half of it
        os.truncate(log, 0)
    return True


def _copy_and_empty(log: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with log.open("r+b") as source, open(descriptor, "wb") as copy:
        while more := source.read(1024 * 1024):  # also what is written meanwhile
            copy.write(more)
        copy.flush()  # before the original is gone
        source.truncate(0)
