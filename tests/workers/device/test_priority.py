"""Threads that let others go first."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cupola.workers.device.machine import lower_priority


def priority() -> int:
    """Of the calling thread: the higher, the later."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is that of a process")
def test_a_thread_lowers_its_priority_with_those_that_it_starts_and_no_other() -> None:
    before = priority()
    with ThreadPoolExecutor(1, initializer=lower_priority) as thread:
        started: list[int] = []

        def start() -> int:
            other = threading.Thread(target=lambda: started.append(priority()))
            other.start()
            other.join()
            return priority()

        assert thread.submit(start).result() > before
    assert started[0] > before
    assert priority() == before
