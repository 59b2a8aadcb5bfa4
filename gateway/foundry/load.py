"""Loading and unloading models, in the forms of Foundry Local's generations.

A  GET /openai/load/{name}?ttl=&timeout=&unload=&ep=   /openai/unload/{name}?force=   empty answers
B-D  GET /models/load/{name}   /models/unload/{name}   {"status": ...}
"""

from __future__ import annotations

import math

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from cupola.cache.catalog import ModelVariant, UnknownModelError, provider_named
from cupola.cache.errors import NotCachedError
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry.answers import LoadStatus, UnloadStatus
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.errors import SERVER_ERROR, ApiError, RequestFailed
from cupola.gateway.http.json_answer import json_answer
from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import LocalModel

FOREVER = -1.0
# The SDKs look for this text and then report that the model has not been downloaded.
NOT_DOWNLOADED = "No OpenAIService provider found for modelName"


class FoundryLoadApi:
    def __init__(
        self, client: SchedulerClient, models: ModelDirectory, remote: RemoteModels
    ) -> None:
        self._client = client
        self._models = models
        self._remote = remote  # these need no loading

    async def loaded(self, request: Request) -> Response:
        return json_answer(sorted(self._resident()))

    # -- generation A ------------------------------------------------------------------------------

    async def load(self, request: Request) -> Response:
        name = request.path_params["name"]
        ttl = ttl_of(request.query_params)
        if self._remote.find(name):
            return Response()
        try:
            provider = provider_named(request.query_params.get("ep", ""))
        except ValueError as error:
            raise ApiError(400, "invalid_value", str(error), param="ep") from None
        try:
            cached = await self._models.lookup(name)
        except (UnknownModelError, NotCachedError) as error:
            message = f"{NOT_DOWNLOADED} {name}. {error}"
            raise ApiError(404, "model_not_found", message, param="model") from None
        model = _local(cached.variant, str(cached.path))
        if provider is not None:
            model = await self._models.find(name, provider)
        await self._client.load(model, ttl)
        return Response()

    async def unload(self, request: Request) -> Response:
        name = request.path_params["name"]
        force = flag(request.query_params, "force", default=False)
        if not self._remote.find(name):
            await self._client.unload(await self._id(name), force)
        return Response()

    async def unload_all(self, request: Request) -> Response:
        for model_id in sorted(self._resident()):
            await self._client.unload(model_id, force=True)
        return Response()

    # -- generations B, C and D --------------------------------------------------------------------

    async def load_now(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self._remote.find(name):
            return json_answer(LoadStatus("already_loaded"))
        try:
            cached = await self._models.lookup(name)
        except UnknownModelError:
            message = f"Model not found: No model matching '{name}'"
            raise ApiError(404, "model_not_found", message, param="model") from None
        except NotCachedError:
            message = "Model not cached: Model must be downloaded before loading"
            raise ApiError(400, "model_not_cached", message, param="model") from None
        if cached.variant.id in self._resident():
            return json_answer(LoadStatus("already_loaded"))
        try:
            await self._client.load(
                _local(cached.variant, str(cached.path)), ttl_of(request.query_params)
            )
        except RequestFailed as failed:
            if failed.code is not ErrorCode.MODEL_LOAD_FAILED:
                raise
            text = f"Load failed: {failed.message}"
            raise ApiError(500, failed.code, text, kind=SERVER_ERROR, param="model") from None
        return json_answer(LoadStatus("loaded"))

    async def unload_now(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self._remote.find(name):
            return json_answer(UnloadStatus("not_loaded"))
        model_id = await self._id(name)
        if model_id not in self._resident():
            return json_answer(UnloadStatus("not_loaded"))
        await self._client.unload(model_id, force=True)
        return json_answer(UnloadStatus("unloaded"))

    # ----------------------------------------------------------------------------------------------

    def _resident(self) -> set[str]:
        workers = self._client.status.workers if self._client.status else ()
        return {model_id for worker in workers for model_id in worker.resident}

    async def _id(self, name: str) -> str:
        """The id of the model that ``name`` means. A loaded model may have no files any more."""
        try:
            return (await self._models.lookup(name)).variant.id
        except NotCachedError as missing:
            return missing.variant.id
        except UnknownModelError:
            same = [each for each in self._resident() if each.casefold() == name.casefold()]
            if same:
                return same[0]
            message = f"Model not found: No model matching '{name}'"
            raise ApiError(404, "model_not_found", message, param="model") from None


def _local(variant: ModelVariant, path: str) -> LocalModel:
    return LocalModel(variant.id, path, variant.provider)


def ttl_of(query: QueryParams) -> float | None:
    """Seconds that the model stays after its last use; None: the default.

    A ``ttl`` above 0 wins over ``unload``; C# clients call it ``timeout``. Without one,
    ``unload=false`` means for ever. Empty values count as not given. Raises ApiError.
    """
    ttl, timeout = _seconds(query, "ttl"), _seconds(query, "timeout")
    unload = flag(query, "unload", default=True)
    return (timeout if ttl is None else ttl) or (None if unload else FOREVER)


def _seconds(query: QueryParams, name: str) -> float | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or (seconds < 0 and seconds != FOREVER):
        message = f"{name} is a number of seconds, or -1 = keep for ever"
        raise ApiError(400, "invalid_value", message, param=name)
    return seconds


def flag(query: QueryParams, name: str, *, default: bool) -> bool:
    match query.get(name, "").lower():
        case "":
            return default
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise ApiError(400, "invalid_value", f"{name} is true or false", param=name)
