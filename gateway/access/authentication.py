"""The middleware that knows the client by its key, and refuses whom no key lets in.

It decides by the path that the router sees, and every path that is not in ``OPEN`` needs a key.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from cupola.cache.system.api_keys import ApiKey
from cupola.gateway.access.client import Client, is_same_user, key_in, note_client
from cupola.gateway.access.key_ring import KeyRing
from cupola.gateway.access.rate_limits import RateLimits
from cupola.gateway.http.body_reader import refuse
from cupola.gateway.http.errors import ApiError
from cupola.gateway.http.headers import headers_of
from cupola.gateway.http.served import served

OPEN = frozenset({"/health", "/ready"})  # for probes; what they tell the unknown is one word
READING = frozenset({"GET", "HEAD", "OPTIONS"})  # not counted by rate limits


@dataclass(frozen=True, slots=True)
class AccessRules:
    """``demanded``: whether a key is needed. ``apart``: clients with different keys share no
    cached prompts. ``body_limit``: bytes of a body that are read for nobody.
    """

    keys: KeyRing
    limits: RateLimits
    demanded: bool
    apart: bool
    body_limit: int


class Authentication:
    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        rules = self._rules
        headers = headers_of(scope)
        given = key_in(headers)
        key = rules.keys.find(given)
        if key is None and rules.demanded and not is_same_user(scope):
            if scope["path"] not in OPEN:
                return await refuse(_unauthorised(given), rules.body_limit, scope, receive, send)
            note_client(Client(known=False))
            return await self._app(scope, receive, send)
        note_client(self._client(key, given, scope))
        if key is not None and (about := served()) is not None:
            about.client = key.name
        if key is None or scope["method"] in READING:
            return await self._app(scope, receive, send)
        await self._limited(key, scope, receive, send)

    def _client(self, key: ApiKey | None, given: str, scope: Scope) -> Client:
        rules = self._rules
        own = ""
        if rules.apart or rules.demanded:
            name = f"key {key.name}" if key else given
            own = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return Client(
            key=key,
            owner=own,
            tenant=own if rules.apart else "",
            admin=key.admin if key else is_same_user(scope),
        )

    async def _limited(self, key: ApiKey, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._rules.limits
        if excess := limits.begin(key, time.monotonic()):
            error = ApiError(
                429,
                "rate_limit_exceeded",
                f"{excess.text}; try again in {excess.retry_after} s",
                headers={"retry-after": excess.retry_after},
            )
            return await refuse(error, self._rules.body_limit, scope, receive, send)
        try:
            await self._app(scope, receive, send)
        finally:
            limits.end(key)


def _unauthorised(given: str) -> ApiError:
    what = "The API key is not known" if given else "This service needs an API key"
    return ApiError(
        401,
        "invalid_api_key",
        f"{what}; send one as 'Authorization: Bearer KEY'. "
        "The operator makes keys with: cupola keys add NAME",
        headers={"www-authenticate": "Bearer"},
    )
