"""From a GenerationRequest to its stream of events. Knows no API's shapes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cupola.gateway.access.client import current_client
from cupola.gateway.access.turns import current_turn
from cupola.gateway.core.beginnings import beginnings
from cupola.gateway.core.encoding import encoded
from cupola.gateway.core.events import Event
from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.preparation import Prepared, prepare
from cupola.gateway.generation.translator import Translator
from cupola.gateway.toolcalls.directory import FormatDirectory
from cupola.scheduler.protocol.outputs import Output


class Generation:
    """A generation under way. A reader that stops early must close ``events`` (``aclosing``).

    A batch holds the events that came together. An empty one means that nothing came for a while.
    Reading raises RequestFailed.
    """

    def __init__(self, model: str, events: AsyncGenerator[list[Event]]) -> None:
        self.model = model  # the id of the variant that answers
        self.events = events


class Generator:
    """Generates for every API."""

    def __init__(
        self, client: SchedulerClient, models: ModelDirectory, formats: FormatDirectory
    ) -> None:
        self._client = client
        self._models = models
        self._formats = formats

    async def generate(self, request: GenerationRequest) -> Generation:
        """Begin. Raises ApiError where this model or machine cannot serve the request."""
        model = await self._models.find(request.model, request.provider)
        answer_format = await self._formats.of(model.path)
        with with_param_names(request.names):
            prepared = prepare(request, answer_format, new_call_id)
            work = encoded(prepared.work)
        tenant, turn = current_client().tenant, current_turn(request.priority, request.timeout)
        known = beginnings(model, tenant, prepared.work) if self._client.chooses else ()
        outputs = self._client.generate(
            model, work, request.ttl, tenant=tenant, turn=turn, beginnings=known
        )
        return Generation(model.id, _events(outputs, prepared))


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


async def _events(
    outputs: AsyncGenerator[list[Output]], prepared: Prepared
) -> AsyncGenerator[list[Event]]:
    translator = Translator(prepared.parser, prepared.custom)
    with with_param_names(prepared.names):
        async with aclosing(outputs):
            async for batch in outputs:
                events = [event for output in batch for event in translator.translate(output)]
                if events or not batch:  # text that is held back is no silence
                    yield events
