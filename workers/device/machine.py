"""The machine under a process: memory, cores, ports, signals. Only this file uses psutil."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cupola.workers.device.cgroup import cpu_limit, memory_left

# glibc keeps freed memory for the next allocation; other systems' allocators give it back.
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_malloc_trim = getattr(_libc, "malloc_trim", None)
_mallopt = getattr(_libc, "mallopt", None)
_M_MMAP_THRESHOLD = -3  # malloc.h
_MAPPED_BYTES = 16 * 1024 * 1024
_NICE, _NICEST = 10, 19  # how much lower, and the lowest priority that there is


def memory_bytes() -> int:
    """Resident memory of this process, in bytes."""
    return int(psutil.Process().memory_info().rss)


def release_memory() -> None:
    """Return memory to the system that this process has freed and its allocator keeps."""
    gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)


def map_large_blocks() -> None:
    """Let each large block have a mapping of its own, which is returned when the block is freed.

    Otherwise glibc raises its bound when such a block is freed. Then it keeps the next block at the
    end of a thread's heap, where ``release_memory`` does not reach.
    """
    if _mallopt is not None:
        _mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def available_bytes() -> int:
    """Memory that processes can still get without swapping, in bytes."""
    available = int(psutil.virtual_memory().available)
    left = memory_left()
    return available if left is None else min(available, left)


def use_only(cpus: Collection[int]) -> None:
    """Let this process, and the threads that it will have, run on these processors only.

    Raises OSError where there are none of them, or the system cannot do this.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise OSError("this system cannot bind a process to processors")
    os.sched_setaffinity(0, cpus)


def lower_priority() -> None:
    """Of the calling thread and of those that it will start. Others go first where there are too
    few processors. Linux alone: elsewhere a priority is that of a process.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # Relative: only root may raise the priority of a service that runs with a lower one.
        nice = min(_NICEST, os.getpriority(os.PRIO_PROCESS, thread) + _NICE)
        os.setpriority(os.PRIO_PROCESS, thread, nice)


def processors() -> frozenset[int]:
    """The numbers of the processors that this process may use; empty: the system does not say."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def cores() -> int:
    """How many physical cores this process may use. Hyper-threads share arithmetic units.

    In a container with a quota of processor time, more threads than that would wait for each other.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cpu_limit()
    allowed = usable or 1 if quota is None else min(usable or 1, max(1, int(quota)))
    return max(1, min(allowed, psutil.cpu_count(logical=False) or 1))


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens on a port. ``is_service``: it is the first of a service like this."""

    name: str
    pid: int
    is_service: bool = False


def listener(port: int) -> Listener | None:
    """The process that listens on a TCP port; None if that is not known."""
    try:
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr
            if connection.status == psutil.CONN_LISTEN and at and at.port == port:
                return _listening(psutil.Process(connection.pid))
    except (psutil.Error, OSError, TypeError):
        return None
    return None


def _listening(process: psutil.Process) -> Listener:
    """A service's gateways listen as well, and are nothing to stop by themselves."""
    for each in (process, *process.parents()):
        with suppress(psutil.Error):
            if is_service(each.cmdline()):
                return Listener(each.name(), each.pid, is_service=True)
    return Listener(process.name(), process.pid)


def is_service(command: Sequence[str]) -> bool:
    """Whether a command line is that of a service like this."""
    programs = [Path(argument).stem for argument in command[:2]]
    return command[1:3] == ["-m", "cupola.service"] or ("cupola" in programs and "serve" in command)


def leave_signals_to_supervisor() -> None:
    """Ignore SIGINT and SIGTERM. They reach every process, but the supervisor decides the order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
