"""The requests that wait for workers of one kind, in the order of service. Pure.

class      the requests of a lower class come first; who waits moves to the class below in time
           (who has lost its worker comes before all of them)
client     in a class, the client that has been served least
request    of a client, by priority, then by deadline, then by arrival
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, Protocol, Self, TypeVar

from cupola.scheduler.waiting.removable_heap import RemovableHeap
from cupola.scheduler.waiting.token_counters import TokenCounters

FIRST_CLASS, MAX_CLASS = -1, 9
AGEING_SECONDS = 30.0  # after which a request that waits moves to the class below


class Waiting(Hashable, Protocol):
    """A request, as far as its order matters."""

    @property
    def client(self) -> str: ...

    @property
    def kind(self) -> Hashable:
        """Which workers can run it."""

    @property
    def priority(self) -> int:
        """0 is usual, and a lower number is more urgent, as in vLLM."""

    @property
    def since(self) -> float:
        """When it came."""

    @property
    def deadline(self) -> float:
        """Until when it may wait."""

    @property
    def arrival(self) -> int:
        """Rises from request to request."""

    @property
    def returned(self) -> bool:
        """Whether it was on a worker already, which is gone."""

    @property
    def size(self) -> int:
        """About how many tokens its prompt has."""


WaitingT = TypeVar("WaitingT", bound=Waiting)


def class_of(priority: int) -> int:
    """Who waits for whom, across clients.

    Everybody can stand back behind all others, and nobody can pass others: a priority below 0 is a
    matter between the requests of one client.
    """
    return min(max(0, priority), MAX_CLASS)


class _Class(Generic[WaitingT]):
    """The requests of one class."""

    def __init__(self, counters: TokenCounters) -> None:
        self._counters = counters
        self._requests: dict[str, RemovableHeap[WaitingT]] = {}  # by client
        self._clients: RemovableHeap[str] = RemovableHeap()  # by counter, which may have risen

    def push(self, request: WaitingT) -> None:
        if request.client not in self._requests:
            self._requests[request.client] = RemovableHeap()
            self._clients.push(request.client, (self._counters.of(request.client),))
        key = (request.priority, request.deadline, request.arrival)
        self._requests[request.client].push(request, key)

    def remove(self, request: WaitingT) -> None:
        requests = self._requests[request.client]
        requests.remove(request)
        if not requests:
            del self._requests[request.client]
            self._clients.remove(request.client)

    def first(self) -> WaitingT | None:
        """The next request of the client that has been served least."""
        while (first := self._clients.first()) is not None:
            client, (listed,) = first
            if (served := self._counters.of(client)) > listed:
                self._clients.push(client, (served,))
            elif (head := self._requests[client].first()) is not None:
                return head[0]
        return None

    def hide(self, client: str) -> None:
        """Leave a client out until it is shown again."""
        self._clients.remove(client)

    def show(self, client: str) -> None:
        if client in self._requests:
            self._clients.push(client, (self._counters.of(client),))


class Round(Generic[WaitingT]):
    """One pass over a lane. Meanwhile only requests that start may be taken out of the lane."""

    def __init__(
        self, classes: Mapping[int, _Class[WaitingT]], class_of: Mapping[WaitingT, int]
    ) -> None:
        self._classes = classes
        self._class_of = class_of
        self._requests: list[WaitingT] = []  # that are left out
        self._clients: list[str] = []  # that are left out

    def next(self) -> WaitingT | None:
        """The request that is served next, besides those that are left out."""
        for number in sorted(self._classes):
            if (request := self._classes[number].first()) is not None:
                return request
        return None

    def leave_request(self, request: WaitingT) -> None:
        """It cannot start now. Others of its client may."""
        self._classes[self._class_of[request]].remove(request)
        self._requests.append(request)

    def leave_client(self, client: str) -> None:
        """None of its requests can start now."""
        for those in self._classes.values():
            those.hide(client)
        self._clients.append(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """All are there again."""
        for request in self._requests:
            self._classes[self._class_of[request]].push(request)
        for client in self._clients:
            for those in self._classes.values():
                those.show(client)


class Lane(Generic[WaitingT]):
    """The requests for one kind of worker."""

    def __init__(self, counters: TokenCounters) -> None:
        self._counters = counters
        self._classes: dict[int, _Class[WaitingT]] = {}
        self._class_of: dict[WaitingT, int] = {}
        self._ageing: RemovableHeap[WaitingT] = RemovableHeap()  # by when they move on

    def __len__(self) -> int:
        return len(self._class_of)

    def push(self, request: WaitingT, now: float) -> None:
        steps = int(max(0.0, now - request.since) / AGEING_SECONDS)
        aged = max(0, class_of(request.priority) - steps)
        self._put(request, FIRST_CLASS if request.returned else aged)

    def remove(self, request: WaitingT) -> None:
        number = self._class_of.pop(request)
        self._classes[number].remove(request)
        self._ageing.remove(request)

    def round(self) -> Round[WaitingT]:
        """A pass over those that wait, in a ``with`` statement."""
        return Round(self._classes, self._class_of)

    def age(self, now: float) -> None:
        """Move those on that have waited for long."""
        while (first := self._ageing.first()) is not None and first[1][0] <= now:
            request = first[0]
            self.remove(request)
            self.push(request, now)

    def _put(self, request: WaitingT, number: int) -> None:
        if number not in self._classes:
            self._classes[number] = _Class(self._counters)
        self._classes[number].push(request)
        self._class_of[request] = number
        if number > 0:
            passed = class_of(request.priority) - number
            self._ageing.push(request, (request.since + (passed + 1) * AGEING_SECONDS,))
