"""Runs work on many inputs, some at a time, and gives the results in the inputs' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 8  # requests: they share the runs of the model

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(
    work: Callable[[Given], Made], inputs: Iterable[Given], at_once: int
) -> Iterator[tuple[Given, Made]]:
    """Each input with its result. No more inputs are taken than are worked on.

    An error of ``work``, or of the inputs, comes after the results before it.
    """
    running: deque[tuple[Given, Future[Made]]] = deque()
    waiting = iter(inputs)
    failure: Exception | None = None
    with ThreadPoolExecutor(at_once) as threads:
        while True:
            while failure is None and len(running) < at_once:
                try:
                    given = next(waiting)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                running.append((given, threads.submit(work, given)))
            if not running:
                break
            given, made = running.popleft()
            yield given, made.result()
    if failure is not None:
        raise failure
