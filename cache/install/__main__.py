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
import time
from pathlib import Path
from types import FrameType

from cupola.cache.catalog import UnknownModelError
from cupola.cache.errors import CacheError, CacheErrorCode
from cupola.cache.home import Home
from cupola.cache.install.import_adapter import import_adapter, install_adapter
from cupola.cache.install.import_path import import_path
from cupola.cache.install.install import install
from cupola.cache.install.install_address import install_address
from cupola.cache.install.messages import (
    DownloadJob,
    Installed,
    InstallFailed,
    InstallJob,
    InstallProgress,
    InstallReport,
    InstallResult,
    QuantizeJob,
    decode_job,
    encode,
)
from cupola.cache.install.pace import Pace
from cupola.cache.install.quantize import quantize
from cupola.cache.model_address import AddressError, check_name, is_address
from cupola.cache.remote.operator_catalogs import variants_to_download
from cupola.cache.store import CachedModel, ModelCache

CANCELLED = 3  # exit status
_REPORT_EVERY = 0.1  # seconds


def run(job: InstallJob) -> InstallResult:
    """Does the job. Raises nothing that a model, a network or a disk can cause."""
    home = Home(Path(job.home))
    try:
        model = _do(job, home)
    except CacheError as error:
        return InstallFailed(error.code, str(error))
    except AddressError as error:
        return InstallFailed(CacheErrorCode.UNKNOWN_MODEL, str(error))
    except UnknownModelError as error:
        return InstallFailed(CacheErrorCode.UNKNOWN_MODEL, str(error))
    except OSError as error:
        text = f"The model could not be stored: {error.strerror or error}"
        return InstallFailed(CacheErrorCode.DISK, text)
    return Installed(model.variant.id, str(model.path))


def _do(job: InstallJob, home: Home) -> CachedModel:
    report = _Reporter()
    if not isinstance(job, QuantizeJob) and job.alias is not None:
        check_name(job.alias)
    if isinstance(job, DownloadJob):
        if is_address(job.model) and job.base is not None:
            return install_adapter(
                job.model, job.base, home, job.alias, report, precision=job.precision
            )
        if is_address(job.model):
            return install_address(
                job.model, home, job.alias, report, force=job.force, precision=job.precision
            )
        [variant, *_] = variants_to_download(ModelCache(home), job.model)
        return install(variant, home, report, force=job.force)
    if isinstance(job, QuantizeJob):
        return quantize(job.model, job.precision, home, report)
    if job.base is not None:
        return import_adapter(
            Path(job.path), job.base, home, job.alias, report, precision=job.precision
        )
    return import_path(Path(job.path), home, job.alias, report, precision=job.precision)


class _Reporter:
    """Writes progress with the rate and the time that is left, and not more often than helps."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._written = ("", 0.0)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        rate, left = self._pace.at(stage, done, total, now)
        last, at = self._written
        if stage == last and done != total and now < at + _REPORT_EVERY:
            return
        self._written = (stage, now)
        _write(InstallProgress(stage, done, total, rate, left))


def _write(report: InstallReport) -> None:
    try:
        sys.stdout.buffer.write(encode(report) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The input ends, too, where the starter has gone. That must not interrupt what cleans up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise


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
