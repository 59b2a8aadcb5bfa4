"""The stored responses of the client that asks. SQLite blocks, so each call runs in a thread."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from cupola.gateway.access.client import current_client
from cupola.gateway.http.errors import SERVER_ERROR, ApiError
from cupola.gateway.openai.responses.answers import ResponseObject
from cupola.gateway.openai.responses.store import ResponseStore

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Archive:
    """``store``: None where the service keeps no responses. All but ``keep`` raise ApiError."""

    def __init__(self, store: ResponseStore | None) -> None:
        self._store = store

    @property
    def enabled(self) -> bool:
        return self._store is not None

    async def add(self, record: ResponseObject, items: Sequence[dict[str, Any]]) -> None:
        owner = current_client().owner
        await self._run(lambda store: store.add(record, items, owner, time.time()))

    async def keep(self, record: ResponseObject, items: Sequence[dict[str, Any]]) -> None:
        """Store a finished response. An answer is not lost because it cannot be stored: it says so.

        OpenAI's clients see ``store`` in the answer, and would drop all of it at an error.
        """
        try:
            await self.add(record, items)
        except ApiError:
            record.store = False
            logger.warning("response %s is not stored", record.id)

    async def update(self, record: ResponseObject) -> bool:
        """See ResponseStore."""
        return await self._run(lambda store: store.update(record, time.time()))

    async def renew(self, response_id: str) -> bool:
        """See ResponseStore."""
        return await self._run(lambda store: store.renew(response_id, time.time()))

    async def add_events(self, response_id: str, first: int, frames: Sequence[bytes]) -> bool:
        """See ResponseStore."""
        return await self._run(
            lambda store: store.add_events(response_id, first, frames, time.time())
        )

    async def events(self, response_id: str, after: int) -> list[bytes] | None:
        """See ResponseStore."""
        return await self._run(lambda store: store.events(response_id, after))

    async def get(self, response_id: str) -> ResponseObject:
        owner = current_client().owner
        return await self._find(
            response_id, lambda store: store.get(response_id, owner, time.time())
        )

    async def input_of(self, response_id: str) -> list[dict[str, Any]]:
        owner = current_client().owner
        return await self._find(
            response_id, lambda store: store.input_of(response_id, owner, time.time())
        )

    async def delete(self, response_id: str) -> None:
        owner = current_client().owner
        await self._find(response_id, lambda store: store.delete(response_id, owner) or None)

    async def page(
        self, limit: int, after: str | None, *, newest_first: bool
    ) -> tuple[list[ResponseObject], bool]:
        """Empty where none are stored."""
        if self._store is None:
            return [], False
        owner, now = current_client().owner, time.time()
        page = await self._run(
            lambda store: store.page(limit, after, owner, newest_first=newest_first, now=now)
        )
        if page is None:
            raise self._missing(after or "", "after")
        return page

    async def conversation(self, response_id: str) -> list[dict[str, Any]]:
        """The items up to the end of the response that a new one follows."""
        if self._store is None:
            raise _no_history(response_id)
        owner = current_client().owner
        record = await self._run(lambda store: store.get(response_id, owner, time.time()))
        if record is None:
            raise _no_history(response_id)
        if not record.ended:
            text = f"Response '{response_id}' is {record.status}: wait for its end"
            raise ApiError(400, "invalid_value", text, param="previous_response_id")
        items = await self._run(lambda store: store.conversation(response_id, owner, time.time()))
        if items is None:
            raise _no_history(response_id)
        return items

    async def _find(self, response_id: str, look: Callable[[ResponseStore], T | None]) -> T:
        found = None if self._store is None else await self._run(look)
        if found is None:
            raise self._missing(response_id, "id")
        return found

    def _missing(self, response_id: str, param: str) -> ApiError:
        text = f"Response with id '{response_id}' not found"
        if self._store is None:
            text += ": this service stores no responses (its setting 'stored_responses' is 0)"
        return ApiError(404, "response_not_found", text, param=param)

    async def _run(self, work: Callable[[ResponseStore], T]) -> T:
        if self._store is None:
            raise self._missing("", "id")
        try:
            return await asyncio.to_thread(work, self._store)
        except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
            logger.error("the stored responses cannot be used: %s", error)
            text = "The stored responses cannot be used just now; the service's log says why"
            raise ApiError(503, "store_unavailable", text, kind=SERVER_ERROR) from None


def _no_history(response_id: str) -> ApiError:
    text = (
        f"Previous response not found: Conversation history for '{response_id}' is no longer "
        "available; resend the full conversation in 'input'"
    )
    return ApiError(404, "previous_response_not_found", text, param="previous_response_id")
