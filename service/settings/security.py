"""Who may use a service, and what its clients share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cupola.service.settings.types import Names


class SecuritySettings(BaseModel):
    """Who may use a service, and what its clients share."""

    api_keys: Literal["network", "always"] = Field(
        default="network",
        description="When clients need an API key. 'network': when other machines can reach the "
        "service. 'always': also on this machine, as for a service behind a proxy. "
        "'cupola keys add' makes keys; CUPOLA_API_KEY and CUPOLA_ADMIN_KEY can hold one each.",
    )
    insecure: Literal["no", "yes"] = Field(
        default="no",
        description="Whether a service that other machines can reach needs no API keys. 'yes' "
        "lets whoever reaches the port use the models.",
    )
    hosts: Names = Field(
        default="",
        description="Names by which clients call this service, besides its own. They are names or "
        "patterns such as '*.example.org', separated by commas. Requests with another Host header "
        "are refused, so that no web page can pass itself off as this service.",
    )
    cors_origins: Names = Field(
        default="",
        description="Web pages that may use the service: origins, separated by commas. An example "
        "is 'https://app.example.org,null'. Pages of this machine always may. '*': all pages.",
    )
    tenants: Literal["one", "keys"] = Field(
        default="one",
        description="Who shares cached prompt beginnings and guesses from earlier answers. 'one': "
        "all clients. 'keys': only clients with the same API key, so that response times tell "
        "nobody what others have sent.",
    )
    audio_folder: str = Field(
        default="",
        description="The folder whose recordings clients may name instead of sending them. "
        "Foundry Local's clients do: POST /v1/audio/transcriptions with 'filename'. Empty: none.",
    )
    remote_hosts: Names = Field(
        default="",
        description="Hosts besides this machine where registered models may be: names, separated "
        "by commas. Requests for such a model are forwarded to its host.",
    )
