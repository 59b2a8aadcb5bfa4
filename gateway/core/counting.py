"""Counts the requests for a model's work that end in the gateway.

The scheduler counts what it is asked for. Some requests never come to it: they are refused before,
passed on to another server, or their client leaves early. ``RequestLog`` tells of every request, so
that each is counted once: by the scheduler, or by the status of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Match

from cupola.gateway.http.disconnect import CLIENT_CLOSED_REQUEST
from cupola.gateway.http.served import Finished, served
from cupola.scheduler.protocol.messages import Outcome


def counted_below() -> None:
    """The scheduler counts the request that is being served, or what is left of its work."""
    if (request := served()) is not None:
        request.counted_below = True


def _outcome(request: Finished) -> Outcome:
    if request.status >= 500:
        return Outcome.FAILED
    if not request.whole or request.status == CLIENT_CLOSED_REQUEST:
        return Outcome.ABORTED
    return Outcome.REFUSED if request.status >= 400 else Outcome.ANSWERED


class Counting:
    """``routes``: whose requests are for a model's work. ``count`` takes how each has ended."""

    def __init__(self, routes: Sequence[BaseRoute], count: Callable[[Outcome], None]) -> None:
        self._routes = routes
        self._count = count

    def tell(self, request: Finished) -> None:
        """A request has ended."""
        if not request.served.counted_below and self._is_for_a_model(request):
            self._count(_outcome(request))

    def _is_for_a_model(self, request: Finished) -> bool:
        scope = {"type": "http", "method": request.method, "path": request.path}
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)
