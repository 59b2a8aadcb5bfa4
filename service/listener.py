"""The port. The service's first process binds it before anything slow; the gateways share it."""

from __future__ import annotations

import errno
import os
import socket

from cupola.cache.local_url import local_url
from cupola.workers.device.machine import listener

BACKLOG = 1024  # connections that wait while a gateway is being restarted


class PortError(OSError):
    """The address cannot be listened on; the text says why and what to do."""


def listen(host: str, port: int, setting: str = "--port") -> socket.socket:
    """A listening socket. ``setting``: the flag of the port, for the error. Raises PortError."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            {"localhost": "127.0.0.1"}.get(host, host),
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise PortError(f"cannot listen on {host}: {error}") from None
    try:
        if os.name == "posix":  # elsewhere this would let two services share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PortError(_reason(host, port, setting, error)) from None
    return sock


def listen_ipv6_localhost(host: str, first: socket.socket) -> socket.socket | None:
    """A second socket for the host "localhost": ``::1``, on the port of the first; else None.

    "localhost" means two addresses, and clients try either.
    """
    if host != "localhost":
        return None
    try:
        return listen("::1", first.getsockname()[1])
    except PortError:
        return None  # there is no IPv6, or another program has the port; the first socket works


def url(sock: socket.socket) -> str:
    """The address for people and clients on this machine."""
    host, port = sock.getsockname()[:2]
    return local_url(host, port)


def _reason(host: str, port: int, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = listener(port)
        by = f" by {owner}" if owner else ""
        return f"port {port} is in use{by}; stop that program or choose another port with {setting}"
    if error.errno == errno.EACCES:
        return f"port {port} is not allowed for this user; choose one above 1023 with {setting}"
    return f"cannot listen on {host}:{port}: {error.strerror}"
