"""What an API is built from: all that it may use of the gateway behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cupola.cache.store import ModelCache
from cupola.gateway.core.config import GatewayConfig
from cupola.gateway.core.downloads import Downloads
from cupola.gateway.core.remote_models import RemoteModels
from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.generation.decider import Decider
from cupola.gateway.generation.embedder import Embedder
from cupola.gateway.generation.generator import Generator
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.gateway.generation.prompt_counter import PromptCounter
from cupola.gateway.toolcalls.directory import FormatDirectory
from cupola.scheduler.protocol.status import ProviderState


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """One for a gateway process; its APIs share it."""

    config: GatewayConfig
    generator: Generator
    embedder: Embedder
    decider: Decider
    counter: PromptCounter
    client: SchedulerClient
    models: ModelDirectory
    formats: FormatDirectory
    cache: ModelCache
    downloads: Downloads
    remote: RemoteModels  # models of other servers
    notify: Callable[[str], None]  # sends a line to the supervisor
    discover: Callable[[], Sequence[ProviderState]]  # tries the runtime's execution providers
