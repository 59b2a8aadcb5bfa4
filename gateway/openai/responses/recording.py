"""Feeding a response while its client reads it, and storing it before the client has its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from cupola.gateway.core.events import Event
from cupola.gateway.http.errors import RequestFailed, from_failure
from cupola.gateway.openai.responses.answers import ResponseObject
from cupola.gateway.openai.responses.progress import Progress


async def recorded(
    events: AsyncGenerator[list[Event]],
    progress: Progress,
    keep: Callable[[ResponseObject], Awaitable[None]],
) -> AsyncGenerator[list[Event]]:
    """The same events. A failure after the first frame is kept, for no HTTP status tells of it."""
    async with aclosing(events):
        try:
            async for batch in events:
                progress.feed(batch)
                if progress.ended:
                    await keep(progress.record)
                yield batch
        except RequestFailed as failed:
            if progress.begun and progress.streamed:
                progress.fail(from_failure(failed))
                await keep(progress.record)
            raise
