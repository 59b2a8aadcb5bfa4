"""The tokens of a prompt, as a worker would read it. Nothing is generated."""

from __future__ import annotations

from starlette.requests import Request

from cupola.gateway.core.asking import ask
from cupola.gateway.core.param_names import with_param_names
from cupola.gateway.core.request import GenerationRequest
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.generator import new_call_id
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.preparation import chat_prompt
from cupola.gateway.toolcalls.directory import FormatDirectory
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Encode, LocalModel


class PromptCounter:
    def __init__(
        self, client: SchedulerClient, models: ModelDirectory, formats: FormatDirectory
    ) -> None:
        self._client = client
        self._models = models
        self._formats = formats

    async def encode(
        self, request: Request, wanted: GenerationRequest
    ) -> tuple[Output, LocalModel]:
        """The conversation's tokens and text. ``request``: whose client waits.

        Raises ApiError, RequestFailed.
        """
        model = await self._models.find(wanted.model, wanted.provider)
        answer_format = await self._formats.of(model.path)
        with with_param_names(wanted.names):
            prompt = chat_prompt(wanted, answer_format, new_call_id)
            (output,) = await ask(self._client, request, model, Encode(prompt), wanted.ttl)
        return output, model
