"""How endpoints read their bodies, and do with them what takes time.

Reading a large body takes a while, in which a thread lets the loop go on: the checks of messages
and of their parts are partly in Python, so the interpreter changes between the two. One body at a
time is read so, for many threads would keep the loop waiting for its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from pydantic import BaseModel
from starlette.requests import Request

Kind = TypeVar("Kind", bound=BaseModel)
Result = TypeVar("Result")
LARGE = 64 * 1024  # bytes; smaller ones are read in the loop
_one_at_a_time: RunVar[anyio.CapacityLimiter] = RunVar("cupola.read_body")


async def read_body(kind: type[Kind], request: Request) -> Kind:
    """The request's body. Raises pydantic's ValidationError, which becomes an answer."""
    if not kind.__pydantic_complete__:
        kind.model_rebuild()  # here, and not in two threads at once
    body = await request.body()
    if len(body) < LARGE:
        return kind.model_validate_json(body)
    return await aside(request, kind.model_validate_json, body)


async def aside(request: Request, work: Callable[..., Result], *arguments: object) -> Result:
    """What ``work`` makes of the arguments; in a thread where the request's body is large."""
    if len(await request.body()) < LARGE:
        return work(*arguments)
    return await anyio.to_thread.run_sync(work, *arguments, limiter=_limiter())


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _one_at_a_time.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(1)
        _one_at_a_time.set(limiter)
        return limiter
