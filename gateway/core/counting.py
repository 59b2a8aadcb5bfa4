"""Counts the requests for a model's work that end in the gateway.

The scheduler counts what it is asked for. Some requests never come to it: they are refused before,
passed on to another server, or their client leaves early. This middleware sees every request, so
that each is counted once: by the scheduler, or by the status of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cupola.scheduler.protocol.messages import Outcome

CLIENT_CLOSED_REQUEST = 499


@dataclass(slots=True)
class _Request:
    """What has become of a request so far."""

    below: bool = False  # the scheduler counts it
    status: int = 0  # 0: there is no answer
    whole: bool = False  # the answer was sent to its end

    @property
    def outcome(self) -> Outcome:
        if self.status >= 500:
            return Outcome.FAILED
        if not self.whole or self.status == CLIENT_CLOSED_REQUEST:
            return Outcome.ABORTED
        return Outcome.REFUSED if self.status >= 400 else Outcome.ANSWERED


# The request that is being served. A task that is started for it sees the same object.
_request: ContextVar[_Request | None] = ContextVar("counted_request", default=None)


def counted_below() -> None:
    """The scheduler counts the request that is being served, or what is left of its work."""
    if (request := _request.get()) is not None:
        request.below = True


class Counting:
    """``routes``: whose requests are for a model's work. ``count`` takes how each has ended."""

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], count: Callable[[Outcome], None]
    ) -> None:
        self._app = app
        self._routes = routes
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = _Request()
        _request.set(request)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)
            request.whole |= message["type"] == "http.response.body" and not message.get(
                "more_body"
            )

        try:
            await self._app(scope, receive, watched)
        except Exception:
            request.status = request.status or 500  # RequestLog answers
            raise
        finally:
            if not request.below and self._is_for_a_model(scope):
                self._count(request.outcome)

    def _is_for_a_model(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)
