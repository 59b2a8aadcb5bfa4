"""``daemon.json`` in the home folder: the service's URL and process id. Clients find it by this."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path


def write(path: Path, url: str, certificate: str = "") -> None:
    """Announce this process as the service at ``url``. Replaces the file. Raises OSError.

    ``certificate``: the file by which clients of this machine know the service.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC).isoformat()
    record = {"web_urls": [url], "pid": os.getpid(), "started_at": started}
    text = json.dumps(record | ({"certificate": certificate} if certificate else {}))
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text + "\n", "utf-8")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def announced(path: Path) -> str:
    """Which service the file names, for people; empty if it names none."""
    try:
        record = json.loads(path.read_text("utf-8"))
        return f"process {int(record['pid'])} on {record['web_urls'][0]}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def remove(path: Path) -> None:
    """Delete the file if it names this process. Another service may have replaced it."""
    try:
        if json.loads(path.read_text("utf-8")).get("pid") == os.getpid():
            path.unlink()
    except (OSError, ValueError, AttributeError):
        return
