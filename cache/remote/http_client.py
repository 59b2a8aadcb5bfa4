"""The HTTP client of downloads, and what its failures mean for the person who waits.

Proxies and certificates come from the environment (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, and the
system's own store). A token is sent to the server that it belongs to and to none that this one
redirects to. It is in no message.
"""

from __future__ import annotations

import importlib.metadata
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx2

from cupola.cache.errors import DeniedError, FetchError, NotFoundError, UnreachableError

TIMEOUT = httpx2.Timeout(30.0, connect=15.0)
_MOST_REDIRECTS = 10


def new_client() -> httpx2.AsyncClient:
    """A client for all requests of one job."""
    return httpx2.AsyncClient(
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
        timeout=TIMEOUT,
        headers={
            "User-Agent": f"cupola/{importlib.metadata.version('cupola')}",
            "Accept-Encoding": "identity",  # the bytes of a range are to be the file's
        },
    )


def server_of(url: str) -> str:
    """The name of a server for a message. A signed URL has secrets after it."""
    return urlsplit(url).netloc.rpartition("@")[2] or url


def refused(response: httpx2.Response, what: str) -> FetchError:
    """The error for an answer that no other try would change."""
    status, server = response.status_code, server_of(str(response.request.url))
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    reason = _reason(response.headers)
    answered = f"{server} answers {words}{reason}"
    if status in (401, 403, 451):
        return DeniedError(f"{what} may not be read: {answered}")
    if status in (404, 410):
        return NotFoundError(f"{what} is not there: {answered}")
    return FetchError(f"Could not fetch {what}: {answered}")


def misled(url: str, what: str, error: Exception) -> FetchError:
    """The error for a server that sends elsewhere, to where nobody goes."""
    how = "in circles" if isinstance(error, httpx2.TooManyRedirects) else "to no web address"
    return FetchError(f"{server_of(url)} redirects {how} for {what}")


def unreachable(url: str, what: str, error: Exception) -> UnreachableError:
    """The error for a server that does not answer, after several tries."""
    said = str(error).rstrip(".") or type(error).__name__
    advice = "Check the network and the proxy (HTTPS_PROXY), then try again"
    if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in said.upper():
        advice = "Name the certificates to trust in SSL_CERT_FILE, then try again"
    return UnreachableError(f"Could not fetch {what}: {server_of(url)}: {said}. {advice}")


def _reason(headers: Mapping[str, str]) -> str:
    """What the hub says about itself, shortened: it is another's text in our message."""
    text = "".join(c for c in headers.get("x-error-message", "") if c.isprintable())
    return f" ({text[:200]})" if text else ""
