"""The port. The service's first process binds it before anything slow; the gateways share it."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass

from cupola.cache.system.local_url import local_url
from cupola.workers.device.machine import listener

BACKLOG = 1024  # connections that wait while a gateway is being restarted
LOCALHOST = "localhost"  # means both of these
_IPV4, _IPV6 = "127.0.0.1", "::1"
_TRIES = 16  # to find a port that is free in both


class PortError(OSError):
    """The address cannot be listened on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of a host, on one port. ``problem``: why there is one less than there should."""

    sockets: tuple[socket.socket, ...]
    problem: str = ""

    def url(self, certificate: str = "") -> str:
        """The address for people and clients on this machine: the first socket's."""
        return url(self.sockets[0], certificate)


def listen(host: str, port: int, setting: str = "--port") -> Listeners:
    """Listening sockets. ``setting``: the flag of the port, for the error. Raises PortError.

    ``localhost`` is two addresses, and clients try either: it gets a socket for each. A machine
    without IPv6 has one.
    """
    if host != LOCALHOST:
        return Listeners((_listen(host, port, setting),))
    for _ in range(_TRIES):
        first = _listen(_IPV4, port, setting)
        number = first.getsockname()[1]
        try:
            return Listeners((first, _bound(_IPV6, number)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return Listeners((first,))
            if port:
                return Listeners((first,), _taken(number))
            first.close()
    raise PortError(f"no port is free on both {_IPV4} and {_IPV6}; choose one with {setting}")


def url(sock: socket.socket, certificate: str = "") -> str:
    """The address for people and clients on this machine. With a ``certificate`` it is https."""
    host, port = sock.getsockname()[:2]
    return local_url(host, port, "https" if certificate else "http")


def _listen(host: str, port: int, setting: str) -> socket.socket:
    try:
        return _bound(host, port)
    except OSError as error:
        raise PortError(_reason(host, port, setting, error)) from None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":  # elsewhere this would let two services share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _reason(host: str, port: int, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = listener(port)
        other = f"choose another port with {setting}"
        if owner is None:
            return f"port {port} is in use; stop that program or {other}"
        if owner.is_service:
            return (
                f"port {port} is in use by another Cupola service (pid {owner.pid}); stop it with "
                f"'cupola service stop', with its --home if it has one, or {other}"
            )
        by = f"{owner.name} (pid {owner.pid})"
        return f"port {port} is in use by {by}; stop that program or {other}"
    if error.errno == errno.EACCES:
        return f"port {port} is not allowed for this user; choose one above 1023 with {setting}"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def _taken(port: int) -> str:
    return (
        f"port {port} of {_IPV6} is in use; who asks for 'localhost' may reach that "
        f"program instead of this one, which is on {_IPV4} only"
    )
