"""Several generations as one: a request with several prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from cupola.gateway.core.events import Event, UsageTotal
from cupola.gateway.core.mailbox import Mailbox
from cupola.gateway.http.errors import RequestFailed
from cupola.scheduler.protocol.outputs import Usage

Events = AsyncGenerator[list[Event]]
Ended = RequestFailed | None


async def merged(parts: Sequence[Events], answers: int) -> Events:
    """The events of all ``parts``, which have so many ``answers`` each, as they come.

    The second part's answers are numbered after those of the first, and so on. The usage is that
    of all. The failure of one part is the failure of all.
    """
    arrived: Mailbox[tuple[int, list[Event] | Ended]] = Mailbox()

    async def read(number: int, events: Events) -> None:
        ended: Ended = None
        try:
            async with aclosing(events):
                async for batch in events:
                    arrived.put((number, batch))
        except RequestFailed as failed:
            ended = failed
        arrived.put((number, ended))

    readers = [asyncio.create_task(read(number, part)) for number, part in enumerate(parts)]
    left = len(readers)
    total = UsageTotal(Usage(0, 0))
    try:
        while left:
            batch: list[Event] = []
            for number, what in await arrived.take():
                if isinstance(what, RequestFailed):
                    raise what
                if what is None:
                    left -= 1
                    continue
                for event in what:
                    if isinstance(event, UsageTotal):
                        total = _sum(total, event)
                    else:
                        batch.append(replace(event, index=event.index + number * answers))
            yield batch if left else [*batch, total]
    finally:
        for reader in readers:
            reader.cancel()


def _sum(one: UsageTotal, other: UsageTotal) -> UsageTotal:
    names = Usage.__struct_fields__
    total = Usage(*(getattr(one.usage, name) + getattr(other.usage, name) for name in names))
    return UsageTotal(total, one.reasoning_tokens + other.reasoning_tokens)
