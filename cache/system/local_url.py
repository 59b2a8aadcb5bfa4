"""The URL by which a client on the same machine reaches a server."""

from __future__ import annotations

# What means several addresses, and the one of them that every client can reach.
_SEVERAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}


def local_url(host: str, port: int) -> str:
    """``host``: a name or address that the server is bound to."""
    host = _SEVERAL.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
