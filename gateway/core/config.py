"""What a gateway process must know. Light to import: the supervisor makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home
from cupola.cache.system.api_keys import ApiKey
from cupola.cache.system.local_url import local_url

if TYPE_CHECKING:
    from cupola.scheduler.protocol.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    scheduler: Endpoint
    home: Path
    model: str  # the default model's name, for the front page
    max_body_bytes: int
    grace_seconds: float
    host: str
    port: int
    supervisor_pid: int
    providers: tuple[ExecutionProvider, ...] = (ExecutionProvider.CPU,)  # that workers run
    context: int = 0  # the longest that workers serve, in tokens; 0: each model's own
    ollama_port: int = 0  # a second one, with Ollama's API only; 0: none
    legacy_keys: bool = False
    cors_origins: tuple[str, ...] = ()  # besides the service's own
    stored_responses: int = 1000  # at most; 0: none
    stored_response_bytes: int = 256 * 1024 * 1024  # of all of them, or of each key's
    separate_tenants: bool = False  # clients with different keys share no cache
    remote_hosts: tuple[str, ...] = ()  # besides this machine: where registered models may be
    hosts: tuple[str, ...] = ()  # names of the service besides its own
    keys_demanded: bool = False
    keys: tuple[ApiKey, ...] = ()  # besides those of the home's file
    gateways: int = 1  # processes that share the port
    certificate: str = ""  # PEM file for TLS; empty: no TLS
    private_key: str = ""  # PEM file
    otlp_endpoint: str = ""  # of an OpenTelemetry collector; empty: none is told
    max_audio_bytes: int = 64 * 1024 * 1024  # of a form with sound
    permutations: int = 1  # in how many orders decisions are asked that do not say it
    audio_folder: str = ""  # clients may name files below it; empty: none

    @property
    def models_path(self) -> str:
        """The folder that the models are in."""
        return str(Home(self.home).models)

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the service."""
        return local_url(self.host, self.port, "https" if self.certificate else "http")
