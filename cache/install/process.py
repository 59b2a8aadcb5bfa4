"""Runs an install job in a process of its own and reads what it reports.

Converting a model keeps a processor busy for a minute, and a process can be ended at any point.
The process ends when its standard input is closed, so it does not outlive the one that started it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from types import TracebackType

from cupola.cache.errors import CacheErrorCode, InstallError
from cupola.cache.install.messages import (
    Installed,
    InstallFailed,
    InstallJob,
    InstallProgress,
    InstallReport,
    InstallResult,
    decode_report,
    encode,
)

CANCEL_SECONDS = 15.0  # for a cancelled process to delete its files; then it is killed


def run_install(job: InstallJob, on_progress: Callable[[InstallProgress], None]) -> Installed:
    """Does the job and returns when it is done. Raises InstallError.

    An exception that comes meanwhile, such as KeyboardInterrupt, cancels the job.
    """
    with InstallProcess.start(job) as process:
        for report in process.reports():
            match report:
                case InstallProgress():
                    on_progress(report)
                case InstallFailed(code, message):
                    raise InstallError(code, message)
                case Installed():
                    return report
    raise AssertionError("the last report is a result")


class InstallProcess:
    """A running install. As a context manager it is cancelled at the end of the block."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, job: InstallJob) -> InstallProcess:
        # -P: a folder called "cupola" in the working directory is not this package.
        command = [sys.executable, "-P", "-m", "cupola.cache.install", encode(job).decode()]
        return cls(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def reports(self) -> Iterator[InstallReport]:
        """The reports as they come; waits for each. The last is the result.

        Once, from one thread. The process has ended when the result is given.
        """
        result: InstallResult | None = None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                report = decode_report(line)
                if isinstance(report, InstallProgress):
                    yield report
                else:
                    result = report
        status = self._process.wait()
        self.cancel()
        text = f"The installation of the model ended unexpectedly (exit status {status})"
        yield result or InstallFailed(CacheErrorCode.ENDED, text)

    @property
    def status(self) -> int | None:
        """The exit status; None: it runs."""
        return self._process.poll()

    def cancel(self) -> None:
        """Ask the process to stop and delete its files; any thread may. Does not wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once. The next install deletes the files that it leaves."""
        self._process.kill()

    def __enter__(self) -> InstallProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()
        try:
            self._process.wait(CANCEL_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
