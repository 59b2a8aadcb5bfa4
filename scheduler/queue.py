"""The requests that wait for a worker, and the order in which they are served. Pure.

Nothing else knows that order. Today it is first come, first served: see ``_place``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Any

from cupola.scheduler.records import Request


def _place(request: Request) -> int:
    """Where the request stands in the order of service. The lowest is served first.

    No two requests have the same place, and a request keeps its place while it waits.
    """
    return request.arrival


def _deadline(request: Request) -> tuple[float, int]:
    """As ``_place``, in the order of deadlines."""
    return (request.deadline, request.arrival)


class WaitingQueue:
    """Waiting requests in the order of service. A request waits at most once.

    ``limit`` is how many may wait. The queue does not enforce it: ask ``has_room`` before a new
    request is pushed. A request that has lost its worker is pushed back even to a full queue.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_place: list[Request] = []
        self._by_deadline: list[Request] = []

    def __len__(self) -> int:
        return len(self._by_place)

    def __contains__(self, request: object) -> bool:
        return isinstance(request, Request) and _find(self._by_place, request, _place) is not None

    def __iter__(self) -> Iterator[Request]:
        """In the order of service. The queue may be changed during the iteration."""
        return iter(tuple(self._by_place))

    def has_room(self, request: Request, elsewhere: int = 0) -> bool:
        """Whether a new request may wait. ``elsewhere``: how many wait in another place."""
        return len(self) + elsewhere < self._limit

    def push(self, request: Request) -> None:
        """Add a request that does not wait yet. One that has waited before gets its old place."""
        insort(self._by_place, request, key=_place)
        insort(self._by_deadline, request, key=_deadline)

    def remove(self, request: Request) -> None:
        """Take a request out, if it waits."""
        for requests, key in ((self._by_place, _place), (self._by_deadline, _deadline)):
            if (index := _find(requests, request, key)) is not None:
                del requests[index]

    def expired(self, now: float) -> list[Request]:
        """The requests that have waited for too long. They stay in the queue until removed."""
        end = bisect_right(self._by_deadline, now, key=lambda request: request.deadline)
        return self._by_deadline[:end]

    def next_deadline(self) -> float | None:
        """When the next request expires; None: nothing waits."""
        return self._by_deadline[0].deadline if self._by_deadline else None


def _find(requests: list[Request], request: Request, key: Callable[[Request], Any]) -> int | None:
    """The index of ``request`` in a list that is sorted by ``key``."""
    index = bisect_left(requests, key(request), key=key)
    return index if index < len(requests) and requests[index] is request else None
