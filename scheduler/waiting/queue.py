"""The requests that wait for a worker. Pure. In which order they are served, ``lane`` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Generic

from cupola.scheduler.waiting.lane import Lane, Round, WaitingT
from cupola.scheduler.waiting.removable_heap import RemovableHeap
from cupola.scheduler.waiting.token_counters import TokenCounters


class WaitingQueue(Generic[WaitingT]):
    """A request waits at most once. Nothing here costs more for each further one that waits."""

    def __init__(self, counters: TokenCounters) -> None:
        self._counters = counters
        self._lanes: dict[Hashable, Lane[WaitingT]] = {}
        self._deadlines: RemovableHeap[WaitingT] = RemovableHeap()
        self._since: RemovableHeap[WaitingT] = RemovableHeap()
        self._requests = Counter[str]()  # by client
        self._tokens = Counter[str]()  # of prompts, by client
        self.tokens = 0  # of all prompts

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, request: object) -> bool:
        return request in self._deadlines

    def __iter__(self) -> Iterator[WaitingT]:
        """In order of arrival. The queue may be changed during the iteration."""
        return iter(sorted(self._deadlines, key=lambda request: request.arrival))

    @property
    def clients(self) -> int:
        """How many clients have requests that wait."""
        return len(self._requests)

    @property
    def oldest_since(self) -> float | None:
        """Since when the oldest request is here; None: nothing waits."""
        first = self._since.first()
        return first[0].since if first else None

    def requests_of(self, client: str) -> int:
        return self._requests[client]

    def tokens_of(self, client: str) -> int:
        """Of the prompts that wait."""
        return self._tokens[client]

    def push(self, request: WaitingT, now: float) -> None:
        """Add a request that does not wait yet. One that has waited before gets its old place."""
        if not self._requests[request.client]:
            self._counters.arrives(request.client)
        self._lanes.setdefault(request.kind, Lane(self._counters)).push(request, now)
        self._deadlines.push(request, (request.deadline, request.arrival))
        self._since.push(request, (request.since,))
        self._requests[request.client] += 1
        self._tokens[request.client] += request.size
        self.tokens += request.size

    def remove(self, request: WaitingT) -> None:
        """Take a request out, if it waits."""
        if request not in self._deadlines:
            return
        self._deadlines.remove(request)
        self._since.remove(request)
        self._lanes[request.kind].remove(request)
        self._requests[request.client] -= 1
        self._tokens[request.client] -= request.size
        self.tokens -= request.size
        if not self._requests[request.client]:
            del self._requests[request.client], self._tokens[request.client]

    def round(self, kind: Hashable, now: float) -> Round[WaitingT]:
        """A pass over those that workers of this kind can run, in the order of service.

        It is for a ``with`` statement.
        """
        lane: Lane[WaitingT] = self._lanes.setdefault(kind, Lane(self._counters))
        lane.age(now)
        return lane.round()

    def expired(self, now: float) -> list[WaitingT]:
        """The requests that have waited for too long. They stay in the queue until removed."""
        found: list[WaitingT] = []
        while (first := self._deadlines.first()) is not None and first[0].deadline <= now:
            found.append(first[0])
            self._deadlines.remove(first[0])
        for request in found:
            self._deadlines.push(request, (request.deadline, request.arrival))
        return found

    def next_deadline(self) -> float | None:
        """When the next request expires; None: nothing waits."""
        first = self._deadlines.first()
        return first[0].deadline if first else None
