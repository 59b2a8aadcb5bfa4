"""Ollama's way to see, show and delete models: /api/tags, show, ps, delete, version."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.cache.catalog import DeviceType
from cupola.cache.errors import CacheError
from cupola.cache.store import CachedModel
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.http.error_codes import MODEL, WORK
from cupola.gateway.http.errors import NO_RETRY, ApiError
from cupola.gateway.http.json_answer import json_answer
from cupola.gateway.http.read_body import read_body
from cupola.gateway.http.timestamps import rfc3339
from cupola.gateway.ollama.answers import (
    OllamaDetails,
    OllamaModel,
    OllamaRunning,
    OllamaRunningModel,
    OllamaShown,
    OllamaTags,
    OllamaVersion,
)
from cupola.gateway.ollama.body import Named
from cupola.gateway.openapi.absent import absent
from cupola.gateway.openapi.described import Operation, Section, delete, get, post
from cupola.gateway.toolcalls.directory import read_template
from cupola.gateway.toolcalls.formats import AnswerFormat
from cupola.scheduler.protocol.status import Serving

FOREVER = timedelta(days=292 * 365)  # as long as Ollama's "for ever"
API_VERSION = "0.12.6"  # of the Ollama whose API this is: clients ask for a least one
_PARAMETERS = re.compile(r"(?<![a-z0-9])(\d+(?:\.\d+)?[mb])(?![a-z0-9])")
# What is not here, and what to do instead.
_REFUSED = {
    "/api/copy": "Models have fixed names here: ask for one by its alias",
    "/api/create": "Import a model instead: cupola model import FILE.gguf",
    "/api/push": "Models are not published from here",
    "/api/blobs/{digest}": "Import a model instead: cupola model import FILE.gguf",
}


class ModelEndpoints:
    def __init__(self, dependencies: ApiDependencies) -> None:
        self._client = dependencies.client
        self._models = dependencies.models
        self._formats = dependencies.formats
        self._cache = dependencies.cache

    def routes(self) -> list[Route]:
        tags = Operation(Section.OLLAMA, "The models on this machine", answer=OllamaTags)
        running = Operation(Section.OLLAMA, "The models that are loaded", answer=OllamaRunning)
        shown = Operation(
            Section.OLLAMA, "About a model", body=Named, answer=OllamaShown, errors=MODEL
        )
        deleted = Operation(
            Section.OLLAMA, "Remove a model from the disk", body=Named,
            errors=(*WORK, "model_in_use", "forbidden"), admin=True,
        )  # fmt: skip
        version = Operation(Section.OLLAMA, "Of which Ollama this is the API", answer=OllamaVersion)
        return [
            get("/api/tags", self.tags, tags),
            get("/api/ps", self.ps, running),
            post("/api/show", self.show, shown),
            delete("/api/delete", self.delete, deleted),
            get("/api/version", self.version, version),
            *(
                absent(path, _refuse(text), f"{path.split('/')[2]} of Ollama's")
                for path, text in _REFUSED.items()
            ),
        ]

    async def version(self, request: Request) -> Response:
        return json_answer(OllamaVersion(API_VERSION, version("cupola")))

    async def tags(self, request: Request) -> Response:
        cached = await self._models.on_disk()
        return json_answer(OllamaTags([await self._entry(model) for model in cached]))

    async def ps(self, request: Request) -> Response:
        status = await self._client.status_now()
        workers = status.workers if status else ()
        running = []
        for cached in await self._models.on_disk():
            holders = [each for each in workers if cached.variant.id in each.resident]
            known = (holder.serving.get(cached.variant.id) for holder in holders)
            if holders:
                running.append(await self._running(cached, [one for one in known if one]))
        return json_answer(OllamaRunning(running))

    async def show(self, request: Request) -> Response:
        body = await read_body(Named, request)
        cached = await self._models.cached(body.key)
        variant, entry = cached.variant, await self._entry(cached)
        family = entry.details.family
        return json_answer(
            OllamaShown(
                license=variant.license,
                modelfile=f"FROM {variant.id}\n",
                parameters="",
                template=await anyio.to_thread.run_sync(read_template, cached.path),
                details=entry.details,
                model_info={
                    "general.architecture": family,
                    "general.basename": variant.display_name,
                    f"{family}.context_length": variant.context_length,
                },
                capabilities=entry.capabilities,
                modified_at=entry.modified_at,
            )
        )

    async def delete(self, request: Request) -> Response:
        body = await read_body(Named, request)
        variant = (await self._models.cached(body.key)).variant
        await self._client.unload(variant.id)
        try:
            await anyio.to_thread.run_sync(self._cache.remove, variant.id)
        except CacheError:
            text = f"The model '{variant.id}' cannot be removed: its files are in use"
            raise ApiError(409, "model_in_use", text, param="model") from None
        return Response()

    # -- parts -------------------------------------------------------------------------------------

    async def _entry(self, cached: CachedModel) -> OllamaModel:
        variant = cached.variant
        answer_format = await self._formats.of(str(cached.path))
        digest = cached.source_sha256 or hashlib.sha256(variant.id.encode()).hexdigest()
        size = _PARAMETERS.search(variant.alias.lower())
        return OllamaModel(
            name=variant.id,
            model=variant.id,
            modified_at=rfc3339(variant.created_at),
            size=variant.file_size_mb * 1_000_000,
            digest=digest,
            details=OllamaDetails(
                parent_model="",
                format="onnx",
                family=answer_format.name,
                families=[answer_format.name],
                parameter_size=size[1].upper() if size else "",
                quantization_level="",
            ),
            capabilities=_capabilities(variant.task, answer_format),
        )

    async def _running(self, cached: CachedModel, servings: list[Serving]) -> OllamaRunningModel:
        """``servings``: how each worker runs it that holds it."""
        entry = await self._entry(cached)
        on_device = cached.variant.device is not DeviceType.CPU
        return OllamaRunningModel(
            **msgspec.structs.asdict(entry),
            expires_at=rfc3339(datetime.now(UTC) + _left(servings)),
            size_vram=entry.size if on_device else 0,
            context_length=cached.variant.context_length,
        )


def _capabilities(task: str, answer_format: AnswerFormat) -> list[str]:
    if task == "embeddings":
        return ["embedding"]
    if task == "text-ranking":
        return []  # Ollama's API has no name for it
    able = {
        "completion": True,
        "tools": answer_format.chats,
        "thinking": answer_format.thinks,
    }
    return [name for name, can in able.items() if can]


def _left(servings: list[Serving]) -> timedelta:
    """How long a model stays at the longest if nobody uses it."""
    times = [serving.expires_in for serving in servings]
    known = [seconds for seconds in times if seconds is not None]
    return timedelta(seconds=max(known)) if known and len(known) == len(times) else FOREVER


def _refuse(text: str) -> Any:
    async def refuse(request: Request) -> Response:
        raise ApiError(501, "unsupported_endpoint", text, headers=NO_RETRY)

    return refuse
