"""GET /foundry/list and /openai/models: the catalog as Foundry Local's clients read it.

The answer is a bare array.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cupola.cache.catalog import ModelVariant
from cupola.cache.foundry_catalog import uri_of
from cupola.cache.store import CachedModel
from cupola.gateway.core.remote_models import RemoteModel, RemoteModels
from cupola.gateway.foundry.answers import ModelRecord, PromptTemplate, Runtime
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.toolcalls.directory import FormatDirectory

CHAT = "chat-completion"  # the task


def record(
    variant: ModelVariant, template: Mapping[str, str], calls_tools: bool = False
) -> ModelRecord:
    """``template``: the model's prompts in the old form, as far as they are known."""
    return ModelRecord(
        name=variant.id,
        display_name=variant.display_name,
        uri=uri_of(variant),
        version=str(variant.version),
        prompt_template=msgspec.convert(template, PromptTemplate),
        publisher=variant.publisher,
        task=variant.task,
        runtime=Runtime(str(variant.device), str(variant.provider)),
        file_size_mb=variant.file_size_mb,
        alias=variant.alias,
        supports_tool_calling=calls_tools,
        license=variant.license,
        license_description=f"This model is under the license: {variant.license or 'unknown'}",
        max_output_tokens=variant.max_output_tokens,
    )


def remote_record(model: RemoteModel) -> ModelRecord:
    """A registered model. Nothing is known about where it runs."""
    return ModelRecord(
        name=model.name,
        display_name=model.name,
        provider_type=model.kind,
        uri=model.base,
        version="1",
        publisher=model.kind,
        task=CHAT,
        runtime=Runtime("CPU", "CPUExecutionProvider"),
        file_size_mb=0,
        alias=model.name,
        license="",
        license_description="",
        max_output_tokens=0,
    )


class FoundryModelsApi:
    def __init__(
        self, models: ModelDirectory, families: FormatDirectory, remote: RemoteModels
    ) -> None:
        self._models = models
        self._families = families
        self._remote = remote

    async def catalog(self, request: Request) -> Response:
        """Every model that can be had and run. Clients take the first one of an alias."""
        cached = {model.variant.id: model for model in await self._models.runnable()}
        local = [
            await self._record(variant, cached.get(variant.id))
            for variant in await self._models.catalog()
        ]
        return json_answer(local + [remote_record(model) for model in self._remote.all()])

    async def cached(self, request: Request) -> Response:
        """The ids of the models on this disk, and of those that need no download."""
        local = [model.variant.id for model in await self._models.runnable()]
        return json_answer(local + [model.name for model in self._remote.all()])

    async def _record(self, variant: ModelVariant, cached: CachedModel | None) -> ModelRecord:
        if cached is None:  # the models of the catalog have chat templates
            return record(variant, {}, variant.task == CHAT)
        family = await self._families.of(str(cached.path))
        return record(variant, cached.prompt_template, family.chats)
