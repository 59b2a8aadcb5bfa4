"""The keys that Foundry Local's first generation put into chat completions, for who reads them.

Only where the ``legacy_keys`` setting asks for it: OpenAI's API has none of them. Each choice has
both ``message`` and ``delta``, and each object ``CreatedAt``, ``IsDelta``, ``Successful`` and
``HttpStatusCode``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/v1/chat/completions"
DATA = b"data: "
EVENT_END = b"\n\n"


class LegacyKeys:
    """Middleware around the chat endpoint's answers, whole and streamed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            return await self._app(scope, receive, send)
        await self._app(scope, receive, _Rewriter(send))


class _Rewriter:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None  # held back until the body's length is known
        self._streamed = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            self._streamed = kind.startswith("text/event-stream")
            if message["status"] == 200 and not self._streamed:
                self._start = message
            else:
                await self._send(message)
        elif self._start is not None:
            await self._send_whole(self._start, message)
            self._start = None
        elif self._streamed and message.get("body"):
            await self._send({**message, "body": rewrite_events(message["body"])})
        else:
            await self._send(message)

    async def _send_whole(self, start: Message, message: Message) -> None:
        body = msgspec.json.encode(with_legacy_keys(msgspec.json.decode(message["body"])))
        MutableHeaders(scope=start)["content-length"] = str(len(body))
        await self._send(start)
        await self._send({**message, "body": body})


def rewrite_events(frames: bytes) -> bytes:
    """Whole server-sent events; comments, errors and [DONE] stay as they are."""
    return EVENT_END.join(_rewrite(event) for event in frames.split(EVENT_END))


def _rewrite(event: bytes) -> bytes:
    if not event.startswith(DATA + b"{"):
        return event
    content = msgspec.json.decode(event.removeprefix(DATA))
    return DATA + msgspec.json.encode(with_legacy_keys(content))


def with_legacy_keys(answer: Any) -> Any:
    """A completion, or a chunk of one, with the old keys; anything else unchanged."""
    if not isinstance(answer, dict) or "choices" not in answer:
        return answer
    is_delta = answer.get("object") == "chat.completion.chunk"
    given, other = ("delta", "message") if is_delta else ("message", "delta")
    choices = [{other: choice.get(given), **choice} for choice in answer["choices"]]
    created = datetime.fromtimestamp(answer.get("created", 0), UTC)
    return answer | {
        "choices": choices,
        "CreatedAt": created.isoformat(),
        "IsDelta": is_delta,
        "Successful": True,
        "HttpStatusCode": 0,
    }
