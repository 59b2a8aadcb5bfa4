"""Feeding a response while its client reads it, and storing it before the client has its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from cupola.gateway.core.events import Event
from cupola.gateway.http.errors import RequestFailed, from_failure
from cupola.gateway.openai.responses.progress import Progress
from cupola.gateway.openai.responses.record import Record


async def recorded(
    events: AsyncGenerator[list[Event]],
    progress: Progress,
    keep: Callable[[Record], Awaitable[None]],
) -> AsyncGenerator[list[Event]]:
    """The same events. A failure of which no client hears by a status is kept as well."""
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
