"""The HTTP application: what the APIs are built from, and what every request passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.cache.system.local_url import is_loopback
from cupola.gateway.access.admin import AdminRules, note_rules
from cupola.gateway.access.authentication import AccessRules, Authentication
from cupola.gateway.access.key_ring import KeyRing
from cupola.gateway.access.rate_limits import RateLimits
from cupola.gateway.access.turns import Turns
from cupola.gateway.apis import ERROR_FORMATS, Apis
from cupola.gateway.core.config import GatewayConfig
from cupola.gateway.core.counting import Counting
from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.foundry.proxy import Proxy
from cupola.gateway.generation.decider import Decider
from cupola.gateway.generation.dependencies import ApiDependencies
from cupola.gateway.generation.embedder import Embedder
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.prompt_counter import PromptCounter
from cupola.gateway.http.body_reader import BodyReader
from cupola.gateway.http.cors import Cors, Origins
from cupola.gateway.http.error_formats import HANDLERS, ErrorFormats
from cupola.gateway.http.middleware import RequestLog, SameOrigin, TrustedHost
from cupola.gateway.http.paths import Paths
from cupola.gateway.http.served import Finished
from cupola.gateway.ollama.port import OllamaPort
from cupola.gateway.openapi.api import Description
from cupola.gateway.openapi.described import working
from cupola.gateway.toolcalls.directory import FormatDirectory
from cupola.scheduler.protocol.status import ProviderState


def build_app(
    client: SchedulerClient,
    models: ModelCache,
    config: GatewayConfig,
    notify: Callable[[str], None],
    discover: Callable[[], Sequence[ProviderState]],
    remote: RemoteModels | None = None,
    told: Sequence[Callable[[Finished], None]] = (),
) -> Starlette:
    """The application. ``notify`` sends a line to the supervisor, ``discover`` tries the
    runtime's execution providers, ``remote`` has the models that the gateways share. ``told``: who
    hears of each request that has ended.
    """
    remote = RemoteModels() if remote is None else remote
    directory = ModelDirectory(models, config.model, config.context)
    formats = FormatDirectory()
    apis = Apis(
        ApiDependencies(
            config=config,
            generator=Generator(client, directory, formats),
            embedder=Embedder(client, directory),
            decider=Decider(client, directory, formats, config.permutations),
            counter=PromptCounter(client, directory, formats),
            client=client,
            models=directory,
            formats=formats,
            cache=models,
            downloads=Downloads(models.home),
            remote=remote,
            notify=notify,
            discover=discover,
        )
    )
    routes = apis.routes()
    counting = Counting(working(routes), client.count)
    log = Middleware(RequestLog, tell=[client.count_answer, counting.tell, *told])
    app = _Application(
        routes=routes,
        middleware=_middleware(config, remote, log),
        exception_handlers=dict(HANDLERS),
        lifespan=apis.lifespan,
    )
    note_rules(app.state, AdminRules(config.keys_demanded, _origins(config)))
    app.router.redirect_slashes = False
    app.router.routes += Description(app.router.routes, ERROR_FORMATS).routes()
    return app


class _Application(Starlette):
    """Starlette's without its outermost middleware: ``RequestLog`` answers with 500."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = ExceptionMiddleware(self.router, handlers=self.exception_handlers)
        for wrap, arguments, options in reversed(self.user_middleware):
            app = wrap(app, *arguments, **options)
        return app


def _middleware(config: GatewayConfig, remote: RemoteModels, log: Middleware) -> list[Middleware]:
    """What a request passes before its route, the outermost first.

    Paths         finds the address that a client means
    ErrorFormats  chooses the form of errors by the path
    RequestLog    gives the answer an id, logs the request and tells who counts it, answers 500
                  where nobody caught
    Cors          lets pages of allowed origins read the answers
    Authentication  knows the client by its key; refuses the unknown, and who sends too much
    BodyReader    reads the body, decodes it, refuses one that is too long or holds too much
    TrustedHost   refuses a Host that is malformed, or not one of the service's (DNS rebinding)
    SameOrigin    refuses what a web page of another site sends
    OllamaPort    limits the second port to Ollama's API; only where there is such a port
    Proxy         passes requests for models of other servers on to them
    Turns         notes whose request it is and how urgent, for the order of service

    What only an operator may do, its route checks (``access.admin``).
    """
    origins = _origins(config)
    return [
        Middleware(Paths),
        Middleware(ErrorFormats, table=ERROR_FORMATS),
        log,
        Middleware(Cors, origins=origins),
        Middleware(Authentication, rules=_access_rules(config)),
        Middleware(BodyReader, limit=config.max_body_bytes, audio_limit=config.max_audio_bytes),
        Middleware(TrustedHost, bound=config.host, named=config.hosts),
        Middleware(SameOrigin, origins=origins),
        *([Middleware(OllamaPort, port=config.ollama_port)] if config.ollama_port else []),
        Middleware(Proxy, remote=remote),
        Middleware(Turns),
    ]


def _origins(config: GatewayConfig) -> Origins:
    return Origins(is_loopback(config.host), config.cors_origins)


def _access_rules(config: GatewayConfig) -> AccessRules:
    return AccessRules(
        keys=KeyRing(Home(config.home).api_keys, config.keys, time.monotonic),
        limits=RateLimits(config.gateways),
        demanded=config.keys_demanded,
        apart=config.separate_tenants,
        body_limit=config.max_body_bytes,
    )
