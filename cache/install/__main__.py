"""``python -m cupola.cache.install JOB``: an install job as a process; see ``process``.

JOB is a job as JSON, and standard output has a report as JSON in each line. When standard input
ends, the process that started this one has gone or has cancelled the job: the work stops and leaves
nothing behind.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from cupola.cache.catalog import UnknownModelError
from cupola.cache.errors import CacheError, CacheErrorCode
from cupola.cache.home import Home
from cupola.cache.install.install import import_gguf, install
from cupola.cache.install.messages import (
    DownloadJob,
    Installed,
    InstallFailed,
    InstallJob,
    InstallProgress,
    InstallReport,
    InstallResult,
    decode_job,
    encode,
)
from cupola.cache.store import ModelCache

CANCELLED = 3  # exit status


def run(job: InstallJob) -> InstallResult:
    """Does the job. Raises nothing that a model, a network or a disk can cause."""
    home = Home(Path(job.home))
    try:
        if isinstance(job, DownloadJob):
            [variant, *_] = ModelCache(home).catalog().find(job.model)
            model = install(variant, home, _on_progress, force=job.force)
        else:
            model = import_gguf(Path(job.path), home, job.alias, _on_progress, bits=job.bits)
    except CacheError as error:
        return InstallFailed(error.code, str(error))
    except UnknownModelError as error:
        return InstallFailed(CacheErrorCode.UNKNOWN_MODEL, str(error))
    except OSError as error:
        text = f"The model could not be stored: {error.strerror or error}"
        return InstallFailed(CacheErrorCode.DISK, text)
    return Installed(model.variant.id, str(model.path))


def _on_progress(stage: str, done: int, total: int | None) -> None:
    _write(InstallProgress(stage, done, total))


def _write(report: InstallReport) -> None:
    sys.stdout.buffer.write(encode(report) + b"\n")
    sys.stdout.buffer.flush()


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Ctrl+C reaches this process and its starter, which then cancels it: once is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _interrupt_at_end_of_input() -> None:
    # Not through sys.stdin: the interpreter could not end while a thread holds its buffer.
    while os.read(0, 4096):
        pass
    if hasattr(signal, "pthread_kill"):  # ends a blocking read, which the other does not
        main_thread = threading.main_thread().ident
        signal.pthread_kill(main_thread or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def main() -> int:
    signal.signal(signal.SIGINT, _interrupt_once)  # a service's processes ignore the signal
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
    try:
        _write(run(decode_job(sys.argv[1])))
    except (KeyboardInterrupt, BrokenPipeError):
        return CANCELLED
    return 0


if __name__ == "__main__":
    sys.exit(main())
