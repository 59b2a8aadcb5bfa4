"""Who can speak to the scheduler's socket, and how much at once."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
import zmq.utils.monitor

from cupola.scheduler.protocol.endpoint import (
    MAX_FRAME_BYTES,
    Endpoint,
    local_endpoint,
    remove,
    tcp_endpoint,
)

PATIENCE_MS = 30_000  # until a test gives up; nothing here waits for it when all is well


@contextmanager
def joined(
    endpoint: Endpoint, others: Callable[[zmq.Socket[bytes]], None]
) -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes], zmq.Socket[bytes]]]:
    """A server, a client that belongs to it, and another client."""
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as server,
        context.socket(zmq.DEALER) as own,
        context.socket(zmq.DEALER) as other,
    ):
        own.identity, other.identity = b"own", b"other"
        server.rcvtimeo = own.rcvtimeo = PATIENCE_MS
        endpoint.serve(server)
        others(other)
        endpoint.without_secret().join(own)
        yield server, own, other


def with_a_key_of_its_own(endpoint: Endpoint) -> Callable[[zmq.Socket[bytes]], None]:
    return lambda peer: replace(endpoint.without_secret(), client_keys=zmq.curve_keypair()).join(
        peer
    )


def without_a_key(endpoint: Endpoint) -> Callable[[zmq.Socket[bytes]], None]:
    return lambda peer: Endpoint(endpoint.address).join(peer)


def with_another_servers_key(endpoint: Endpoint) -> Callable[[zmq.Socket[bytes]], None]:
    other = replace(endpoint.without_secret(), public_key=zmq.curve_keypair()[0])
    return other.join


@pytest.mark.parametrize(
    "stranger", [with_a_key_of_its_own, without_a_key, with_another_servers_key]
)
def test_on_a_port_only_known_keys_connect(
    stranger: Callable[[Endpoint], Callable[[zmq.Socket[bytes]], None]],
) -> None:
    endpoint = tcp_endpoint()

    def knocks(peer: zmq.Socket[bytes]) -> None:
        watched = peer.get_monitor_socket()
        watched.rcvtimeo = PATIENCE_MS
        stranger(endpoint)(peer)
        peer.send(b"from a stranger")
        while zmq.utils.monitor.recv_monitor_message(watched)["event"] not in REFUSED:
            pass
        peer.disable_monitor()
        watched.close()

    with joined(endpoint, knocks) as (server, own, _):
        own.send(b"from one of us")
        assert server.recv_multipart() == [b"own", b"from one of us"]
        server.send_multipart([b"own", b"heard"])
        assert own.recv() == b"heard"


REFUSED = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_DISCONNECTED,
}


@pytest.mark.parametrize("kind", [local_endpoint, tcp_endpoint])
def test_a_frame_that_is_too_long_ends_its_connection_and_nobody_elses(
    kind: Callable[[], Endpoint],
) -> None:
    endpoint = kind()
    try:
        with joined(endpoint, endpoint.without_secret().join) as (server, own, other):
            other.send(b"short")
            assert server.recv_multipart() == [b"other", b"short"]
            watched = other.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            watched.rcvtimeo = PATIENCE_MS
            other.send(bytes(MAX_FRAME_BYTES + 1))
            watched.recv_multipart()  # the server has closed the connection
            other.disable_monitor()
            watched.close()
            own.send(b"still here")
            assert server.recv_multipart() == [b"own", b"still here"]
    finally:
        remove(endpoint)


@pytest.mark.skipif(not zmq.has("ipc"), reason="there are no Unix sockets")
def test_on_this_system_there_is_a_socket_in_a_folder_of_ones_own_and_no_port() -> None:
    endpoint = local_endpoint()
    try:
        assert endpoint.address.startswith("ipc://")
        folder = Path(endpoint.address.removeprefix("ipc://")).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        remove(endpoint)
