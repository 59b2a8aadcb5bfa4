"""Responses that are generated in the background: begun, renewed, cancelled, stored."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from cupola.gateway.generation.generator import Generation
from cupola.gateway.http.errors import (
    SERVER_ERROR,
    ApiError,
    RequestFailed,
    from_failure,
    internal_error,
)
from cupola.gateway.openai.responses.archive import Archive
from cupola.gateway.openai.responses.event_log import EventLog
from cupola.gateway.openai.responses.progress import Progress

logger = logging.getLogger(__name__)
# Seconds after which the next batch also asks whether anybody has cancelled, and events are stored.
RENEW = 1.0


class Background:
    """The responses of this process. Those of others are cancelled through the archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._logs: dict[str, EventLog] = {}
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While responses can be begun. At the end, those under way are waited for."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None

    def start(
        self, generation: Generation, progress: Progress, log: EventLog | None = None
    ) -> None:
        """``log`` gets the events of a response that is streamed.

        Raises ApiError when the service is about to end.
        """
        if self._group is None:
            text = "The service is shutting down; send the request again"
            raise ApiError(503, "shutting_down", text, kind=SERVER_ERROR)
        response_id = progress.record.id
        task = self._group.create_task(self._make(generation, progress, log))
        self._tasks[response_id] = task
        if log is not None:
            self._logs[response_id] = log
        task.add_done_callback(lambda _: self._forget(response_id))

    def log_of(self, response_id: str) -> EventLog | None:
        """The events of a response that this process streams just now."""
        return self._logs.get(response_id)

    async def store_events(self, response_id: str) -> bool:
        """Store the events so far. False: somebody has cancelled or deleted the response."""
        log = self._logs.get(response_id)
        if log is None:
            return await self._archive.renew(response_id)
        first, frames = log.stored, log.unstored
        log.stored += len(frames)
        try:
            return await self._archive.add_events(response_id, first, frames)
        except ApiError:
            log.stored = first  # there must be no gap before what is stored later
            raise

    def stop(self, response_id: str) -> None:
        """End the work on a response, if it is this process'."""
        if task := self._tasks.get(response_id):
            task.cancel()

    def _forget(self, response_id: str) -> None:
        self._tasks.pop(response_id, None)
        if log := self._logs.pop(response_id, None):
            log.end()

    async def _make(self, generation: Generation, progress: Progress, log: EventLog | None) -> None:
        try:
            await self._read(generation, progress, log)
        except RequestFailed as failed:
            progress.fail(from_failure(failed))
        except ApiError as error:
            progress.fail(error)
        except Exception:
            logger.exception("response %s failed", progress.record.id)
            progress.fail(internal_error(progress.record.id))
        if progress.ended:
            await self._keep(progress, log)

    async def _read(self, generation: Generation, progress: Progress, log: EventLog | None) -> None:
        """To the end, or until somebody has cancelled or deleted the response."""
        renewed = time.monotonic()
        async with aclosing(generation.events) as events:
            async for batch in events:
                begins = bool(batch) and not progress.begun
                if batch:
                    progress.feed(batch)
                if progress.ended:
                    return
                if log is not None:
                    log.add(progress.take_frames())
                if begins:
                    wanted = await self._archive.update(progress.record)
                elif not batch or time.monotonic() - renewed > RENEW:
                    wanted = await self.store_events(progress.record.id)
                    renewed = time.monotonic()
                else:
                    continue
                if not wanted:
                    return

    async def _keep(self, progress: Progress, log: EventLog | None) -> None:
        """Store the end, its events first. Whoever reads the stream gets them afterwards."""
        last = progress.take_frames()
        try:
            if log is not None:
                rest = [*log.unstored, *last]
                await self._archive.add_events(progress.record.id, log.stored, rest)
            await self._archive.update(progress.record)
        except ApiError:
            logger.warning("response %s is not stored", progress.record.id)
        if log is not None:
            log.add(last)
