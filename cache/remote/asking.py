"""One request of JSON or XML, as often as it takes, with a bound on what is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import anyio
import httpx2
import msgspec

from cupola.cache.errors import FetchError
from cupola.cache.remote import retry
from cupola.cache.remote.http_client import misled, refused, server_of, unreachable

MAX_ANSWER = 32 << 20  # bytes
T = TypeVar("T")
Refusal = Callable[[httpx2.Response, str], FetchError]


async def ask(
    client: httpx2.AsyncClient,
    url: str,
    what: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    refusal: Refusal = refused,
    attempts: int = retry.ATTEMPTS,
) -> tuple[bytes, httpx2.Response]:
    """The body and what came with it.

    ``what``: for messages. ``refusal``: the error for an answer other than 200. Raises FetchError.
    """
    for attempt in range(1, attempts + 1):
        answered: Mapping[str, str] = {}
        try:
            async with client.stream(method, url, headers=headers, content=content) as response:
                if response.status_code == 200:
                    return await _read(response, what), response
                error = refusal(response, what)
            if not retry.is_temporary(response.status_code):
                raise error
            answered = response.headers
        except (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects) as failure:
            raise misled(url, what, failure) from None
        except httpx2.RequestError as failure:
            error = unreachable(url, what, failure)
        seconds = retry.wait_seconds(attempt, answered, datetime.now(UTC))
        if seconds > retry.LONGEST_WAIT:
            break
        if attempt < attempts:
            await anyio.sleep(seconds)
    raise error


def decoded(content: bytes, kind: type[T], url: str, what: str, server: str) -> T:
    """The body as ``kind``. ``server``: what should have answered, for the FetchError."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        text = f"{server_of(url)} does not answer as {server} does about {what}"
        raise FetchError(text) from None


async def _read(response: httpx2.Response, what: str) -> bytes:
    """The body, of which no more is kept in memory than an answer may have."""
    content = bytearray()
    async for data in response.aiter_bytes():
        content += data
        if len(content) > MAX_ANSWER:
            server = server_of(str(response.request.url))
            raise FetchError(f"{server} answers more than {MAX_ANSWER} bytes about {what}")
    return bytes(content)
