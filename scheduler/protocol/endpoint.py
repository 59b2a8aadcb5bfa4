"""Where the scheduler's socket is, and what protects it.

On one machine it is a Unix socket in a folder that only its owner may enter. Where ``ipc://`` is
missing (Windows) it is a TCP port on the loopback interface, protected by CURVE: only a process
that got the server's key when it was started can connect.
"""

from __future__ import annotations

import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import zmq

MAX_FRAME_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``address`` is a ZeroMQ address. The keys are empty where there is no CURVE."""

    address: str
    public_key: bytes = b""
    secret_key: bytes = b""

    def serve(self, peer: zmq.Socket[bytes]) -> None:
        """Bind ``peer`` here."""
        self._guard(peer)
        if self.secret_key:
            peer.curve_server = True
            peer.curve_secretkey = self.secret_key
            peer.curve_publickey = self.public_key
        peer.bind(self.address)

    def join(self, peer: zmq.Socket[bytes]) -> None:
        """Connect ``peer`` to the scheduler."""
        self._guard(peer)
        if self.public_key:
            peer.curve_serverkey = self.public_key
            peer.curve_publickey, peer.curve_secretkey = zmq.curve_keypair()
        peer.connect(self.address)

    def without_secret(self) -> Endpoint:
        """The endpoint as a client of the socket gets it."""
        return Endpoint(self.address, self.public_key)

    @staticmethod
    def _guard(peer: zmq.Socket[bytes]) -> None:
        peer.linger = 0  # frames that are not sent yet do not delay the end of the process
        peer.maxmsgsize = MAX_FRAME_BYTES
        peer.sndhwm = peer.rcvhwm = 100_000


def local_endpoint() -> Endpoint:
    """A fresh private endpoint on this machine."""
    if zmq.has("ipc"):
        folder = tempfile.mkdtemp(prefix="cupola-")  # mode 0700
        return Endpoint(f"ipc://{Path(folder) / 'scheduler'}")
    public, secret = zmq.curve_keypair()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Endpoint(f"tcp://127.0.0.1:{port}", public, secret)


def remove(endpoint: Endpoint) -> None:
    """Delete a local endpoint's socket and folder."""
    if endpoint.address.startswith("ipc://"):
        path = Path(endpoint.address.removeprefix("ipc://"))
        path.unlink(missing_ok=True)
        path.parent.rmdir()
