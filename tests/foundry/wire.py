"""Raw HTTP over a socket, as the network hands it over."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 60.0  # seconds until a test gives up; nothing here is measured


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def request(method: str, path: str, body: Any = None, *headers: str) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + content


def arrivals(connection: socket.socket) -> Iterator[bytes]:
    """What each read gives, up to the end."""
    while data := connection.recv(65536):
        yield data


@dataclass
class Answer:
    """An answer and the pieces in which its body came.

    ``reads`` has a piece for each read of the socket, as a client of a raw stream sees it;
    ``chunks`` one for each chunk of HTTP, as fetch in a browser or in Node hands it over.
    """

    status: int
    headers: dict[str, str]
    reads: list[bytes]
    chunks: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def ask(url: str, data: bytes) -> Answer:
    with connect(url) as connection:
        connection.sendall(data)
        return read(connection)


def read(connection: socket.socket) -> Answer:
    head, decoder = b"", ChunkDecoder()
    reads: list[bytes] = []
    status, headers = 0, {}
    for data in arrivals(connection):
        if not status:
            head += data
            if b"\r\n\r\n" not in head:
                continue
            top, _, data = head.partition(b"\r\n\r\n")
            first, *rest = top.decode("latin-1").split("\r\n")
            status = int(first.split()[1])
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in rest)}
        if headers.get("transfer-encoding") != "chunked":
            reads.append(data)
            continue
        if made := b"".join(decoder.feed(data)):
            reads.append(made)
    whole = headers.get("transfer-encoding") != "chunked"
    return Answer(status, headers, reads, [b"".join(reads)] if whole else decoder.chunks)


class ChunkDecoder:
    """HTTP/1.1's chunked coding, one list item a chunk."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        self._rest += data
        new: list[bytes] = []
        while b"\r\n" in self._rest:
            size, _, rest = self._rest.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                break
            if length:
                new.append(rest[:length])
            self._rest = rest[length + 2 :]
        self.chunks += new
        return new
