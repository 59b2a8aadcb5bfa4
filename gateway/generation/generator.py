"""From a GenerationRequest to its stream of events. Knows no API's shapes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cupola.gateway.core.encoding import encoded
from cupola.gateway.core.events import Event
from cupola.gateway.core.param_names import in_words_of
from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.arrangement import Arrangement, arrange
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.translator import Translator
from cupola.gateway.http.tenants import current_tenant
from cupola.gateway.toolcalls.directory import FamilyDirectory
from cupola.scheduler.protocol.messages import Output


class Generation:
    """A generation under way. Whoever stops reading early must close ``events`` (``aclosing``).

    A batch holds the events that came together; an empty one means that nothing came for a while.
    Reading raises RequestFailed.
    """

    def __init__(self, model: str, events: AsyncGenerator[list[Event]]) -> None:
        self.model = model  # the id of the variant that answers
        self.events = events


class Generator:
    """Generates for every door."""

    def __init__(
        self, client: SchedulerClient, models: ModelDirectory, families: FamilyDirectory
    ) -> None:
        self._client = client
        self._models = models
        self._families = families

    async def generate(self, asked: GenerationRequest) -> Generation:
        """Begin. Raises ApiError when the request cannot be served by this model or machine."""
        model = await self._models.find(asked.model, asked.provider)
        family = await self._families.of(model.path)
        with in_words_of(asked.names):
            arrangement = arrange(asked, family, new_call_id)
            work = encoded(arrangement.work)
        outputs = self._client.generate(model, work, asked.ttl, tenant=current_tenant())
        return Generation(model.id, _events(outputs, arrangement))


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


async def _events(
    outputs: AsyncGenerator[list[Output]], arrangement: Arrangement
) -> AsyncGenerator[list[Event]]:
    translator = Translator(arrangement.parser)
    with in_words_of(arrangement.names):
        async with aclosing(outputs):
            async for batch in outputs:
                events = [event for output in batch for event in translator.translate(output)]
                if events or not batch:  # text that is held back is no silence
                    yield events
