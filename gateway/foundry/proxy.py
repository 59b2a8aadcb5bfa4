"""Passes requests for registered models on to the servers that run them, and streams the answers.

Only the body is passed on, to the paths of ``PROXIED`` and no others, with the key that the model
was registered with. The client's own key is meant for this service. The gateway is an HTTP client
nowhere else.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cupola.cache.system.local_url import is_loopback
from cupola.gateway.access.client import current_client
from cupola.gateway.core.remote_models import RemoteModel, RemoteModels
from cupola.gateway.http.disconnect import cancelled_on_disconnect
from cupola.gateway.http.error_formats import error_response
from cupola.gateway.http.errors import NO_RETRY, SERVER_ERROR, ApiError
from cupola.gateway.openapi.described import PROXIED

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
OURS = "1.1 cupola"  # what this proxy adds to Via
MOST_HOPS = 4  # services like this one that a request has come through
SILENCE_SECONDS = 600.0  # between two pieces of an answer
PASSED = ("content-type", "cache-control", "retry-after", "x-should-retry")


class _Body(msgspec.Struct):
    model: str


class Proxy:
    """The innermost middleware. Requests for other models go on unchanged."""

    def __init__(self, app: ASGIApp, remote: RemoteModels) -> None:
        self._app = app
        self._remote = remote

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._remote or not _may_name_a_model(scope):
            return await self._app(scope, receive, send)
        message = await receive()  # BodyReader hands the whole body over in one
        body = message.get("body", b"")
        model = self._remote.find(_model_in(body))
        if model is not None and current_client().may_use(model.name):
            return await _pass_on(model, body, scope, receive, send)
        first: Message | None = message

        async def receive_again() -> Message:
            nonlocal first
            if first is None:
                return await receive()
            again, first = first, None
            return again

        await self._app(scope, receive_again, send)


def _may_name_a_model(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PROXIED


def _model_in(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Body).model
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


async def _pass_on(
    model: RemoteModel, body: bytes, scope: Scope, receive: Receive, send: Send
) -> None:
    import httpx2

    fields: dict[str, Any] = msgspec.json.decode(body)
    fields["model"] = model.name
    passed = Headers(scope=scope).getlist("via")
    if sum(each.count(OURS) for each in passed) >= MOST_HOPS:
        loop = ApiError(
            508,
            "proxy_loop",
            f"The request for '{model.name}' came back: the registered servers name each other",
            kind=SERVER_ERROR,
            headers=NO_RETRY,
        )
        return await error_response(loop, scope)(scope, receive, send)
    headers = [
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        *(("via", each) for each in [*passed, OURS]),
    ]
    if model.key:
        headers.append(("authorization", f"Bearer {model.key}"))
    url = f"{model.base}/{PROXIED[scope['path']]}"
    started = False
    limits = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    # A proxy in the environment is not for servers on this machine.
    outside = not is_loopback(urlsplit(model.base).hostname or "")
    with cancelled_on_disconnect(scope, receive):
        async with httpx2.AsyncClient(timeout=limits, trust_env=outside) as client:
            try:
                content = msgspec.json.encode(fields)
                async with client.stream("POST", url, content=content, headers=headers) as answer:
                    await send(_start(answer))
                    started = True
                    async with aclosing(answer.aiter_bytes()) as pieces:
                        async for piece in pieces:
                            await send(
                                {"type": "http.response.body", "body": piece, "more_body": True}
                            )
                await send({"type": "http.response.body", "body": b""})
            except httpx2.HTTPError as error:
                logger.warning("the provider of %s failed: %r", model.name, error)
                if started:
                    raise  # the cut connection tells the client
                refusal = ApiError(
                    502,
                    "provider_unreachable",
                    f"The server that runs '{model.name}' does not answer",
                    kind=SERVER_ERROR,
                    headers=NO_RETRY,
                )
                await error_response(refusal, scope)(scope, receive, send)


def _start(answer: httpx2.Response) -> Message:
    message: Message = {"type": "http.response.start", "status": answer.status_code, "headers": []}
    headers = MutableHeaders(scope=message)
    for name in PASSED:
        if value := answer.headers.get(name):
            headers[name] = value
    return message
