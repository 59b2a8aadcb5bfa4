"""Starts a service in the background and ends one."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import BinaryIO

from cupola.cache.home import Home
from cupola.cache.system.locks import file_lock, try_acquire
from cupola.client.errors import ClientError, NoAnswerError
from cupola.client.running_service import RunningService, find, find_announced, shut_down

# -P: a file of the working directory must not stand in for a module of the service.
COMMAND = [sys.executable, "-P", "-m", "cupola.service"]
START_SECONDS = 60.0  # until the URL answers
STOP_SECONDS = 40.0  # until the process is gone: its grace time, and that of its children
KILL_SECONDS = 10.0
TICK = 0.05  # how often a start looks whether the service has announced itself
LOG_MODE = 0o600  # it may have names of models and addresses of clients
KEPT_LOGS = 20  # files; each is of the day of a start
_LEAST_FREE = 64 * 1024  # bytes; a disk with less counts as full
_TAIL = 12  # lines of the log that an error shows


def ensure_running(home: Home, environment: Mapping[str, str]) -> tuple[RunningService, bool]:
    """The running service, or else a new one, and whether it is new. Raises ClientError.

    Of several callers at once one starts it and the others wait for it.
    """
    lock = file_lock(_start_lock(home))
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        if service := find(home):  # whoever has started it can write there
            return service, False
        reason = getattr(error, "strerror", None) or error
        raise ClientError(
            f"The folder {home.root} cannot be written: {reason}",
            "A service in the background needs it. Choose another folder with --home, or run "
            "'cupola serve', which can do without",
        ) from None
    try:
        if service := find(home):
            return service, False
        return start(home, environment), True
    finally:
        lock.release()


def find_or_await(home: Home) -> RunningService | None:
    """The running service, also one that another process is just starting.

    The clients of Foundry Local ask for the status ten times and then give up, so a status waits
    for the end of a start. Raises NoAnswerError.
    """
    try:
        service = find(home)
    except NoAnswerError:
        if not _is_starting(home):
            raise
    else:
        if service is not None or not _is_starting(home):
            return service
    with file_lock(_start_lock(home)):
        return find(home)


def _start_lock(home: Home) -> Path:
    """The file whose lock is held during a start."""
    return home.root / "start.lock"


def _is_starting(home: Home) -> bool:
    path = _start_lock(home)
    if not path.exists():  # a look leaves no trace
        return False
    lock = file_lock(path)
    if try_acquire(lock):
        lock.release()
        return False
    return True


def start(home: Home, environment: Mapping[str, str]) -> RunningService:
    """Start a service that outlives this process. Returns when its URL answers.

    Raises ClientError, with the log's last lines, when it dies first.
    """
    log = log_file(home)
    try:
        with _opened(log) as stream:
            begin = stream.tell()
            process = _spawn(home, environment, stream.fileno())
    except OSError as error:
        raise ClientError(
            f"The log {log} cannot be written: {error.strerror or error}",
            "The service needs it when it starts in the background; 'cupola serve' does not",
        ) from None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            status = process.wait(TICK)
        except subprocess.TimeoutExpired:
            if service := _answering(home):
                process.returncode = 0  # it is not ours to wait for any more
                return service
        else:
            # It may have ended because another program has just started one, which will do.
            if service := _answering(home):
                return service
            raise ClientError(
                f"The service ended while it started (exit status {status}):\n{_tail(log, begin)}",
                f"The whole log is {log}",
            )
    raise ClientError(
        f"The service did not answer within {START_SECONDS:.0f} seconds", f"Its log is {log}"
    )


def stop(service: RunningService) -> None:
    """End a service: ask it, wait for its process to end, then kill it. Raises ClientError."""
    try:
        shut_down(service)
        if _wait_gone(service, STOP_SECONDS):
            return
    except ClientError:
        pass  # it does not answer any more
    try:
        os.kill(service.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except OSError as error:
        raise ClientError(f"Process {service.pid} cannot be ended: {error}") from None
    if not _wait_gone(service, KILL_SECONDS):
        raise ClientError(
            f"The service (process {service.pid}) does not end",
            f"End it with: kill -9 {service.pid}",
        )


def log_file(home: Home) -> Path:
    """Where a service that starts today writes its log."""
    return home.logs / f"cupola-{date.today():%Y-%m-%d}.log"


def _opened(log: Path) -> BinaryIO:
    """The log, opened to be written at its end, for its user only. Deletes the oldest logs."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in sorted(log.parent.glob("cupola-*.log"))[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, LOG_MODE)
    stream = os.fdopen(descriptor, "ab")
    log.chmod(LOG_MODE)  # an earlier version made it readable for all
    return stream


def latest_log(home: Home) -> Path:
    """The log of the service that was started last, if there is one."""
    return max(home.logs.glob("cupola-*.log"), default=log_file(home))


def _spawn(home: Home, environment: Mapping[str, str], output: int) -> subprocess.Popen[bytes]:
    """The process has a session of its own and none of our streams, so no pipe stays open."""
    detached = 0
    if sys.platform == "win32":
        detached = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        COMMAND,
        cwd=home.root,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        creationflags=detached,
    )


def _answering(home: Home) -> RunningService | None:
    try:
        return find_announced(home)
    except NoAnswerError:
        return None  # it has its port and is still starting


def _wait_gone(service: RunningService, seconds: float) -> bool:
    """Wait for the end of a process that is not our child; False when ``seconds`` are over."""
    if sys.platform != "linux":
        return _wait_refused(service, seconds)
    try:
        descriptor = os.pidfd_open(service.pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _wait_refused(service: RunningService, seconds: float) -> bool:
    """Wait for the port to be free. The process holds it to its end.

    For systems that do not report the death of another process's children.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(service.address, timeout=left) as connection:
                connection.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError:
            continue  # cut off, or out of time: look again
    return False


def _tail(log: Path, begin: int) -> str:
    """The last lines of what was written to the log since ``begin``."""
    with log.open("rb") as stream:
        stream.seek(begin)
        text = stream.read().decode("utf-8", "replace")
    lines = text.splitlines()[-_TAIL:] or [_silence(log)]
    return "\n".join(f"  {line}" for line in lines)


def _silence(log: Path) -> str:
    """Why there may be nothing in the log."""
    if shutil.disk_usage(log.parent).free < _LEAST_FREE:
        return f"(it could write nothing: the disk of {log.parent} is full)"
    return "(it wrote nothing)"
