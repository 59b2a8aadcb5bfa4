"""Which CURVE keys may connect to a socket: ZeroMQ asks for each handshake (RFC 27, ZAP)."""

from __future__ import annotations

import threading
from collections.abc import Collection
from hmac import compare_digest

import zmq
from zmq.utils import z85

_ADDRESS = "inproc://zeromq.zap.01"  # where ZeroMQ looks for who decides
_ADMITTED, _REFUSED = (b"200", b"OK"), (b"400", b"this key is not known")


def admit_only(socket: zmq.Socket[bytes], keys: Collection[bytes]) -> None:
    """Refuse every client of ``socket`` whose key is none of ``keys``. Call it before the bind.

    A thread decides, to the end of the socket's context. There is one for each context.
    """
    socket.zap_domain = b"cupola"  # without it ZeroMQ lets everybody in if nobody decides
    # Of a shadow: the context would close it at its end, while the thread waits in it.
    shadow: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(socket.context.underlying)
    deciding = shadow.socket(zmq.REP)
    deciding.linger = 0
    deciding.bind(_ADDRESS)
    known = [z85.decode(key) for key in keys]
    threading.Thread(target=_decide, args=(deciding, known), daemon=True, name="keys").start()


def _decide(asked: zmq.Socket[bytes], known: Collection[bytes]) -> None:
    with asked:
        while True:
            try:
                frames = asked.recv_multipart()
            except zmq.ContextTerminated:
                return
            version, request, _, _, _, mechanism, *credentials = frames
            key = credentials[0] if mechanism == b"CURVE" and credentials else b""
            admitted = any([compare_digest(key, each) for each in known])
            answer = _ADMITTED if admitted else _REFUSED
            asked.send_multipart([version, request, *answer, b"", b""])
