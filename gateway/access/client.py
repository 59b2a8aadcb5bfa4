"""The client of the request that is being served: its key, and what it may do."""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from functools import lru_cache

import msgspec
from starlette.datastructures import Headers
from starlette.types import Scope

from cupola.cache.system.api_keys import ApiKey
from cupola.gateway.http.headers import headers_of


class Client(msgspec.Struct, frozen=True):
    """``key``: the record of its key; None where no key is demanded and none was recognised.

    ``owner``: whose stored responses it may see; empty: those of everybody without a key.
    ``tenant``: with whom it shares cached prompts; empty: with all.
    """

    key: ApiKey | None = None
    owner: str = ""
    tenant: str = ""
    admin: bool = False
    known: bool = True  # False: a key is demanded, and this path needs none

    @property
    def name(self) -> str:
        """For the log; never a part of the key."""
        return self.key.name if self.key else ""

    def may_use(self, *names: str) -> bool:
        """Whether it may use the model that has these names."""
        return self.key is None or self.key.may_use(*names)


ANYBODY = Client()
# Of the request that is being served. A task that is started for the request has a copy.
_current: ContextVar[Client] = ContextVar("client", default=ANYBODY)


def current_client() -> Client:
    """Who asks. Outside of requests: anybody."""
    return _current.get()


def note_client(client: Client) -> None:
    _current.set(client)


def key_in(headers: Headers) -> str:
    """The key that a request presents, in the forms of OpenAI, Anthropic and Azure."""
    given = headers.get("authorization") or headers.get("x-api-key") or headers.get("api-key") or ""
    scheme, space, rest = given.partition(" ")
    return rest.strip() if space and scheme.lower() == "bearer" else given.strip()


def is_forwarded(headers: Headers) -> bool:
    """Whether a proxy speaks for somebody else."""
    return any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))


def is_same_user(scope: Scope) -> bool:
    """Whether it came by the Unix socket, to which only programs of one user can connect."""
    return scope.get("client") is None and not is_forwarded(headers_of(scope))


def is_on_this_machine(scope: Scope) -> bool:
    if is_forwarded(headers_of(scope)):
        return False
    client = scope.get("client")
    return client is None or _is_loopback(client[0])


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
