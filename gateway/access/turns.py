"""Notes whose request it is and how urgent it is, for the order in which requests are served.

A client is an API key, or an address where there is no key. All programs of this machine have one
address, so they are known by their User-Agent as well. Every endpoint takes the headers; a body
that has fields of these names says it with more authority.

    x-priority   0 is usual, and a lower number is more urgent
    x-timeout    seconds that the client waits for the answer to begin
"""

from __future__ import annotations

import hashlib
import math
import re
from contextvars import ContextVar

from msgspec.structs import replace
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.gateway.access.client import is_on_this_machine, key_in
from cupola.gateway.http.error_formats import error_response
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.headers import headers_of
from cupola.scheduler.protocol.messages import ANY_TURN, Turn

PRIORITY, TIMEOUT = "x-priority", "x-timeout"
MOST_URGENT, LEAST_URGENT = -(2**31), 2**31 - 1
_INTEGER = re.compile(r"-?[0-9]{1,10}")
LONGEST_TIMEOUT = 86_400.0

# Of the request that is being served. A task that is started for the request has a copy.
_turn: ContextVar[Turn] = ContextVar("turn", default=ANY_TURN)


class Turns:
    """Middleware that notes the turn of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                _turn.set(_read(scope))
            except ApiError as refusal:
                return await error_response(refusal, scope)(scope, receive, send)
        await self._app(scope, receive, send)


def current_turn(priority: int | None = None, timeout: float | None = None) -> Turn:
    """When the request that is being served has its turn. What the body says goes first."""
    turn = _turn.get()
    return replace(
        turn,
        priority=turn.priority if priority is None else priority,
        timeout=turn.timeout if timeout is None else timeout,
    )


def _read(scope: Scope) -> Turn:
    """Raises ApiError."""
    headers = headers_of(scope)
    return Turn(_client(headers, scope), _priority(headers), _timeout(headers))


def _client(headers: Headers, scope: Scope) -> str:
    """A digest of the client's key, else its address. The key itself is neither sent nor logged.

    Programs of this machine are trusted with the name that they give. Others could have as many
    turns as they send names.
    """
    if key := key_in(headers):
        return _digest(key)
    address = scope.get("client")
    name = str(address[0]) if address else ""
    agent = headers.get("user-agent", "")
    return f"{name} {_digest(agent)}" if agent and is_on_this_machine(scope) else name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _priority(headers: Headers) -> int:
    text = headers.get(PRIORITY, "0").strip()
    if _INTEGER.fullmatch(text) and MOST_URGENT <= int(text) <= LEAST_URGENT:
        return int(text)
    message = f"The header {PRIORITY} is a whole number from {MOST_URGENT} to {LEAST_URGENT}"
    raise ApiError(400, "invalid_value", message, param=PRIORITY)


def _timeout(headers: Headers) -> float | None:
    text = headers.get(TIMEOUT)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 < seconds <= LONGEST_TIMEOUT:
        return seconds
    message = f"The header {TIMEOUT} is a number of seconds above 0, at most {LONGEST_TIMEOUT:.0f}"
    raise ApiError(400, "invalid_value", message, param=TIMEOUT)
