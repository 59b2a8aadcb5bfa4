"""Streams of responses in the background, from their beginning or from any event on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse

from cupola.gateway.generation.streaming import SSE
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.chunks import DONE, KEEP_ALIVE
from cupola.gateway.openai.responses.answers import ResponseObject
from cupola.gateway.openai.responses.archive import Archive
from cupola.gateway.openai.responses.event_log import IDLE
from cupola.gateway.openai.responses.events import Completed, Failed, Incomplete

# Another process makes the response, and all that it tells is in the store.
POLL = 0.25  # seconds between two looks
_LAST = tuple(
    f"event: {kind.__struct_config__.tag}\n".encode() for kind in (Completed, Incomplete, Failed)
)


async def stored_events(
    archive: Archive, response_id: str, after: int
) -> AsyncGenerator[list[bytes]]:
    """The frames after that number, to the end. See ``EventLog.follow``."""
    waited = 0.0
    while True:
        record = await archive.get(response_id)  # before its events: those of its end are there
        if batch := await archive.events(response_id, after):
            after += len(batch)
            waited = 0.0
            yield batch
        if record.ended:
            if record.status == "failed" and (failure := await _failure(archive, record, after)):
                yield [failure]
            return
        await asyncio.sleep(POLL)
        waited += POLL
        if waited >= IDLE:
            waited = 0.0
            yield []


async def _failure(archive: Archive, record: ResponseObject, after: int) -> bytes | None:
    """The last event where the process ended that made the response, so that nobody told it."""
    kept = await archive.events(record.id, -1) or []
    if kept and kept[-1].startswith(_LAST):
        return None
    return Failed(response=record, sequence_number=max(len(kept), after + 1)).frame


def streamed(events: AsyncGenerator[list[bytes]]) -> StreamingResponse:
    headers = {"content-type": SSE.decode(), "cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(_body(events), headers=headers)


async def _body(events: AsyncGenerator[list[bytes]]) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        try:
            async for batch in events:
                yield b"".join(batch) or KEEP_ALIVE
        except ApiError:  # it was deleted, or the store fails: there is no more to tell
            return
    yield DONE
