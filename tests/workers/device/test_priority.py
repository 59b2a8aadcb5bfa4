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

        assert thread.submit(start).result() == min(19, before + 10)
    assert started[0] == min(19, before + 10)
    assert priority() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is that of a process")
@pytest.mark.parametrize(("own", "lowered"), [(0, 10), (5, 15), (10, 19), (19, 19)])
def test_a_service_of_a_low_priority_lowers_it_further(own: int, lowered: int) -> None:
    """In a thread of its own: only root may raise a priority again."""

    def start() -> int:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(own, priority()))
        lower_priority()
        return priority()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(start).result() >= lowered
