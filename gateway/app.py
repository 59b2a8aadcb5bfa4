"""The HTTP application: which path leads where."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.gateway.chat import ChatApi
from cupola.gateway.completions import CompletionsApi
from cupola.gateway.doors.dialect import Dialects
from cupola.gateway.doors.ollama_port import OllamaPort
from cupola.gateway.doors.service import Service
from cupola.gateway.doors.table import DIALECTS, door_routes
from cupola.gateway.embeddings import Embedder, EmbeddingsApi
from cupola.gateway.errors import HANDLERS
from cupola.gateway.families.directory import FamilyDirectory
from cupola.gateway.foundry import foundry_routes
from cupola.gateway.foundry_cors import Cors, Origins, is_loopback
from cupola.gateway.foundry_jobs import Downloads
from cupola.gateway.foundry_legacy import LegacyKeys
from cupola.gateway.foundry_proxy import Proxy
from cupola.gateway.foundry_remote import RemoteModels
from cupola.gateway.generator import Generator
from cupola.gateway.health import HealthApi
from cupola.gateway.metrics import MetricsApi
from cupola.gateway.middleware import BodyLimit, RequestLog, SameOrigin, TrustedHost
from cupola.gateway.models import ModelDirectory, ModelsApi
from cupola.gateway.openapi.api import Description
from cupola.gateway.refused import refused_routes
from cupola.gateway.responses.routes import responses_api
from cupola.gateway.scheduler_client import SchedulerClient
from cupola.gateway.tenants import Tenants
from cupola.gateway.tokens import TokensApi

if TYPE_CHECKING:
    from cupola.gateway.main import GatewayConfig


def build_app(
    client: SchedulerClient,
    models: ModelCache,
    config: GatewayConfig,
    tell: Callable[[str], None],
    remote: RemoteModels | None = None,
) -> Starlette:
    """The application. ``tell`` sends a line to the supervisor; ``remote`` has what it shares."""
    remote = RemoteModels() if remote is None else remote
    directory = ModelDirectory(models)
    families = FamilyDirectory()
    generator = Generator(client, directory, families)
    tokens = TokensApi(client, directory, families, config.model)
    embedder = Embedder(client, directory)
    embeddings = EmbeddingsApi(embedder)
    downloads = Downloads(models.home)
    service = Service(generator, client, directory, families, embedder, models, downloads)
    chat = ChatApi(generator)
    completions = CompletionsApi(generator)
    responses, lifespan = responses_api(
        generator, config.home / "responses.sqlite", config.stored_responses
    )
    catalog = ModelsApi(client, directory, families, remote)
    health = HealthApi(
        client,
        directory,
        url=config.url,
        models_path=str(Home(config.home).models),
        default_model=config.model,
        supervisor_pid=config.supervisor_pid,
        tell=tell,
    )
    local = is_loopback(config.host)
    origins = Origins(local, config.cors_origins)
    app = Starlette(
        routes=[
            *chat.routes(),
            *completions.routes(),
            *responses,
            *embeddings.routes(),
            *catalog.routes(),
            *door_routes(service),
            *foundry_routes(client, directory, families, config, remote, downloads, tell),
            *tokens.routes(),
            *health.routes(),
            *MetricsApi(client).routes(),
            *refused_routes(),
        ],
        middleware=[
            Middleware(Dialects, dialects=DIALECTS),
            Middleware(RequestLog),
            Middleware(Cors, origins=origins),
            Middleware(BodyLimit, limit=config.max_body_bytes),
            Middleware(TrustedHost, local=local),
            Middleware(SameOrigin, origins=origins),
            *([Middleware(OllamaPort, port=config.ollama_port)] if config.ollama_port else []),
            Middleware(Proxy, remote=remote),
            *([Middleware(Tenants)] if config.separate_tenants else []),
            *([Middleware(LegacyKeys)] if config.legacy_keys else []),
        ],
        exception_handlers=dict(HANDLERS),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.router.routes += Description(app.router.routes, DIALECTS).routes()
    return app
