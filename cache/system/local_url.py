"""The addresses of this machine, and the URL by which a client on it reaches a server."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

# What means several addresses, and the one of them that every client can reach.
_SEVERAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}


def local_url(host: str, port: int, scheme: str = "http") -> str:
    """``host``: a name or address that the server is bound to."""
    host = _SEVERAL.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@lru_cache(maxsize=64)  # it is asked for each request
def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, is this machine's own."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def is_local(host: str) -> bool:
    """Whether a name in a request means this machine: *.localhost never is another (RFC 6761)."""
    return is_loopback(host) or host.rstrip(".").lower().endswith(".localhost")
