"""The doors: adding one takes its files and a line in each of these tables."""

from __future__ import annotations

from starlette.routing import Route

from cupola.cache.store import ModelCache
from cupola.gateway.doors.anthropic_api import AnthropicApi
from cupola.gateway.doors.anthropic_errors import AnthropicErrors
from cupola.gateway.doors.dialect import Dialect
from cupola.gateway.doors.ollama_api import OllamaApi
from cupola.gateway.doors.ollama_frames import OllamaErrors
from cupola.gateway.doors.ollama_models import OllamaModelsApi
from cupola.gateway.doors.ollama_pull import OllamaPullApi
from cupola.gateway.embeddings import Embedder
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.foundry_jobs import Downloads
from cupola.gateway.generator import Generator
from cupola.gateway.models import ModelDirectory
from cupola.gateway.scheduler_client import SchedulerClient

DIALECTS: tuple[Dialect, ...] = (AnthropicErrors(), OllamaErrors())


def door_routes(
    generator: Generator,
    client: SchedulerClient,
    models: ModelDirectory,
    families: FamilyDirectory,
    embedder: Embedder,
    cache: ModelCache,
) -> list[Route]:
    return [
        *AnthropicApi(generator, client, models, families).routes(),
        *OllamaApi(generator, client, models, families, embedder).routes(),
        *OllamaModelsApi(client, models, families, cache).routes(),
        *OllamaPullApi(models, Downloads(cache.home)).routes(),
    ]
