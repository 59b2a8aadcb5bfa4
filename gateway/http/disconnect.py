"""Ending work whose client has gone away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Receive, Scope

CLIENT_CLOSED_REQUEST = 499  # nginx's number: the client left before an answer
_KEY = "cupola.disconnect"  # of a scope


class Disconnect:
    """Whether a client has gone before the end of its answer, and whom to tell.

    The server has one for each request. A task that waits for the message ``http.disconnect`` costs
    a small request as much as reading its body.
    """

    __slots__ = ("_gone", "_tell")

    def __init__(self) -> None:
        self._gone = False
        self._tell: Callable[[], object] | None = None

    def happen(self) -> None:
        self._gone = True
        if self._tell is not None:
            self._tell()

    def watch(self, tell: Callable[[], object] | None) -> None:
        """``tell`` is called when it happens, or now if it has; None: nobody is told any more."""
        self._tell = tell
        if self._gone and tell is not None:
            tell()

    def note_in(self, scope: Scope) -> None:
        scope[_KEY] = self


@contextmanager
def cancelled_on_disconnect(scope: Scope, receive: Receive) -> Iterator[None]:
    """Cancel the block when the client disconnects, and then go on after it.

    The request's body must have been read: nobody else may call ``receive`` meanwhile.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no task runs this")
    before = task.cancelling()
    gone = False
    pending: asyncio.Handle | None = None

    def cancel() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    def cancel_soon() -> None:
        """Not at once: the task itself may find out, and would be cancelled after the block."""
        nonlocal pending
        pending = pending or asyncio.get_running_loop().call_soon(cancel)

    stop_watching = _watch(scope, receive, cancel_soon)
    try:
        yield
    except asyncio.CancelledError:
        if not gone or task.uncancel() > before:
            raise
    finally:
        stop_watching()
        if pending is not None:
            pending.cancel()


def _watch(scope: Scope, receive: Receive, tell: Callable[[], object]) -> Callable[[], object]:
    """Returns what ends it. A server that is not this one tells by a message only."""
    disconnect: Disconnect | None = scope.get(_KEY)
    if disconnect is None:
        return asyncio.create_task(_wait(receive, tell)).cancel
    disconnect.watch(tell)
    return lambda: disconnect.watch(None)


async def _wait(receive: Receive, tell: Callable[[], object]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tell()
