"""Where a service listens, and what it takes from there."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cupola.service.settings.types import SocketPath


class NetworkSettings(BaseModel):
    """Where a service listens, and what it takes from there."""

    host: str = Field(
        default="localhost",
        min_length=1,
        description="The address to listen on. 'localhost' is this machine, by IPv4 and by IPv6. "
        "'0.0.0.0' serves the whole network, and then clients need API keys: see 'cupola keys'.",
    )
    port: int = Field(
        default=5273, ge=0, le=65535, description="The port to listen on. 0: any free port."
    )
    uds: SocketPath = Field(
        default="",
        description="The path of a Unix socket to listen on as well. Only programs of the same "
        "user can connect to it. Empty: none.",
    )
    tls_certificate: SocketPath = Field(
        default="",
        description="The file of a certificate for TLS, in PEM form, with those of its issuers. "
        "The service then speaks https only, except on the Unix socket. Empty: no TLS.",
    )
    tls_key: SocketPath = Field(
        default="",
        description="The file of the certificate's private key, in PEM form and without a "
        "password. Empty: it is in the certificate's file.",
    )
    ollama_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="A second port that serves Ollama's API only. Ollama's clients expect 11434. "
        "0: none.",
    )
    gateways: int = Field(
        default=1,
        ge=1,
        le=64,
        description="The number of gateway processes that share the port. Raise it when one "
        "gateway keeps a core busy.",
    )
    max_body_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="The largest body of a request, in bytes.",
    )
    max_audio_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        le=1024**3,
        description="The largest recording that is transcribed, in bytes.",
    )
    grace_seconds: float = Field(
        default=10,
        ge=0,
        le=3600,
        description="Seconds that running answers get to finish when the service stops.",
    )
    legacy_keys: Literal["no", "yes"] = Field(
        default="no",
        description="Whether chat completions also have the keys of Foundry Local 0.8. 'yes' adds "
        "keys that OpenAI's API does not have, such as 'delta' beside 'message'.",
    )
