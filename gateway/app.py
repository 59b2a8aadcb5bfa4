"""The HTTP application: which path leads where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.gateway.apis import DIALECTS, door_routes
from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry.api import foundry_routes
from cupola.gateway.foundry.legacy_keys import LegacyKeys
from cupola.gateway.foundry.proxy import Proxy
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.embedder import Embedder
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.http.cors import Cors, Origins, is_loopback
from cupola.gateway.http.dialect import Dialects
from cupola.gateway.http.errors import HANDLERS
from cupola.gateway.http.middleware import BodyLimit, RequestLog, SameOrigin, TrustedHost
from cupola.gateway.http.tenants import Tenants
from cupola.gateway.ollama.port import OllamaPort
from cupola.gateway.openai.chat import ChatApi
from cupola.gateway.openai.completions import CompletionsApi
from cupola.gateway.openai.embeddings import EmbeddingsApi
from cupola.gateway.openai.models import ModelsApi
from cupola.gateway.openai.refused import refused_routes
from cupola.gateway.openai.responses.routes import responses_api
from cupola.gateway.openai.tokens import TokensApi
from cupola.gateway.openapi.api import Description
from cupola.gateway.operations.front_page import FrontPage
from cupola.gateway.operations.health import HealthApi
from cupola.gateway.operations.metrics import MetricsApi
from cupola.gateway.toolcalls.directory import FamilyDirectory
from cupola.scheduler.protocol.messages import ProviderState

if TYPE_CHECKING:
    from cupola.gateway.config import GatewayConfig


def build_app(
    client: SchedulerClient,
    models: ModelCache,
    config: GatewayConfig,
    tell: Callable[[str], None],
    discover: Callable[[], Sequence[ProviderState]],
    remote: RemoteModels | None = None,
) -> Starlette:
    """The application. ``tell`` sends a line to the supervisor, ``discover`` tries the
    runtime's execution providers, ``remote`` has the models that the gateways share.
    """
    remote = RemoteModels() if remote is None else remote
    directory = ModelDirectory(models)
    models_path = str(Home(config.home).models)
    families = FamilyDirectory()
    generator = Generator(client, directory, families)
    tokens = TokensApi(client, directory, families, config.model)
    embedder = Embedder(client, directory)
    embeddings = EmbeddingsApi(embedder)
    downloads = Downloads(models.home)
    service = ApiDependencies(generator, client, directory, families, embedder, models, downloads)
    chat = ChatApi(generator)
    completions = CompletionsApi(generator)
    responses, lifespan = responses_api(
        generator, config.home / "responses.sqlite", config.stored_responses
    )
    catalog = ModelsApi(client, directory, families, remote)
    health = HealthApi(
        client,
        url=config.url,
        models_path=models_path,
        supervisor_pid=config.supervisor_pid,
        notify=tell,
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
            *foundry_routes(
                client,
                directory,
                families,
                remote,
                downloads,
                tell,
                discover,
                url=config.url,
                models_path=models_path,
                remote_hosts=config.remote_hosts,
            ),
            *tokens.routes(),
            *health.routes(),
            *FrontPage(directory, config.url, config.model).routes(),
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
