"""``python -m cupola.cache.install.download HOME MODEL [force]``: a download as a process.

For services: the work keeps a processor busy for a minute, and a process can be ended at any point.
Standard output has a JSON object a line, a ``Told``, and the last one has ``done``. When standard
input ends, the asker has gone or has lost interest: the work stops and leaves nothing behind.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from cupola.cache.catalog import UnknownModelError
from cupola.cache.errors import CacheError
from cupola.cache.home import Home
from cupola.cache.install.install import install
from cupola.cache.store import ModelCache

CANCELLED = 3  # exit status


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far it is, or how it ended. ``total`` 0: not known."""

    stage: str = ""
    amount: int = 0
    total: int = 0
    done: bool = False
    error: str = ""  # with ``done``: it failed


def command(home: Home, model_id: str, force: bool) -> list[str]:
    """How to start it. ``-P``: a folder called "cupola" where the service is is not Cupola."""
    work = [sys.executable, "-P", "-m", "cupola.cache.install.download", str(home.root), model_id]
    return [*work, "force"] if force else work


def download(home: Home, model_id: str, force: bool) -> None:
    """Download and tell. Raises nothing that a model, a network or a disk can cause."""
    error = ""
    try:
        [variant, *_] = ModelCache(home).catalog().find(model_id)
        install(variant, home, _progress, force=force)
    except (CacheError, UnknownModelError) as failed:
        error = str(failed)
    except OSError as failed:
        error = f"The model could not be stored: {failed.strerror or failed}"
    _tell(Told(done=True, error=error))


def _progress(stage: str, done: int, total: int | None) -> None:
    _tell(Told(stage, done, total or 0))


def _tell(told: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):  # not its buffer's: the interpreter could not end
        pass
    if hasattr(signal, "pthread_kill"):  # also out of a blocking read, which the other is not
        main = threading.main_thread().ident
        signal.pthread_kill(main or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def main() -> int:
    home, model_id, *rest = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the service's processes ignore it
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        download(Home(Path(home)), model_id, force=rest == ["force"])
    except (KeyboardInterrupt, BrokenPipeError):
        return CANCELLED
    return 0


if __name__ == "__main__":
    sys.exit(main())
