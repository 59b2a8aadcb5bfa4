"""A web server on loopback that gives files as the hub's storage does, and faults on demand."""

from __future__ import annotations

import gzip
import hashlib
import re
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Fault = Callable[["Request"], bool]  # False: the request is answered as usual


class Request(BaseHTTPRequestHandler):
    """One request; a fault answers it with these methods."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body waits for the client's word on the headers otherwise
    server: _Server

    body = b""

    def setup(self) -> None:
        if self.server.tls is not None:  # here, so that a bad handshake stops nobody else
            self.request.settimeout(10)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        site = self.server.site
        site.requests.append((self.path, dict(self.headers)))
        faults = site.faults[self.path]
        if faults and faults.pop(0)(self):
            return
        answer = site.answers.get(self.path.partition("?")[0])
        if answer is not None:
            answer(self)
        elif self.path in site.files:
            self.give(site.files[self.path])
        else:
            self.answer(404, {"Content-Length": "0"})

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    @property
    def wanted(self) -> tuple[int, int] | None:
        """The range that was asked for, with its last byte."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return (int(found[1]), int(found[2])) if found else None

    def give(self, content: bytes, etag: str | None = None, ranges: bool = True) -> None:
        """The file or the range of it, as it should be."""
        tag = {"ETag": etag or f'"{hashlib.md5(content).hexdigest()}"'}
        if self.wanted is None or not ranges:
            self.answer(200, {"Content-Length": str(len(content))} | tag, content)
            return
        start, last = self.wanted
        if start >= len(content):
            self.answer(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"})
            return
        part = content[start : last + 1]
        place = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        headers = {"Content-Length": str(len(part)), "Content-Range": place} | tag
        self.answer(206, headers, part)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site
    tls: ssl.SSLContext | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is part of the tests


@dataclass
class Site:
    """What is served. ``faults``: for each path, one a request until they are used up.

    ``certificate``: a file with a certificate and its key; None: without TLS.
    """

    url: str = ""
    certificate: Path | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Callable[[Request], None]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> Site:
        self._server = _Server(("127.0.0.1", 0), Request)
        self._server.site = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if self.certificate is not None:
            self._server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.tls.load_cert_chain(self.certificate)
            self.url = self.url.replace("http", "https")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# -- faults ----------------------------------------------------------------------------------------


def status(code: int, **headers: str) -> Fault:
    """An error. Headers by their names with underscores."""

    def fault(request: Request) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request.answer(code, {"Content-Length": "0"} | named)
        return True

    return fault


def no_ranges(request: Request) -> bool:
    """200 and the whole file, though a range was wanted."""
    request.give(request.server.site.files[request.path], ranges=False)
    return True


def other_range(request: Request) -> bool:
    """Bytes from another place than wanted."""
    content = request.server.site.files[request.path]
    headers = {"Content-Length": "4", "Content-Range": f"bytes 0-3/{len(content)}", "ETag": '"x"'}
    if request.wanted is None or request.wanted[0] == 0:
        headers["Content-Range"] = f"bytes 4-7/{len(content)}"
    request.answer(206, headers, content[:4])
    return True


def no_content_range(request: Request) -> bool:
    """206 that does not say of which bytes."""
    request.answer(206, {"Content-Length": "4"}, b"abcd")
    return True


def cut_after(count: int) -> Fault:
    """Hangs up after ``count`` bytes of the body."""

    def fault(request: Request) -> bool:
        content = request.server.site.files[request.path]
        start, last = request.wanted or (0, len(content) - 1)
        part = content[start : last + 1]
        place = f"bytes {start}-{last}/{len(content)}"
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"Content-Length": str(len(part)), "Content-Range": place, "ETag": tag}
        request.answer(206 if request.wanted else 200, headers, part[:count])
        request.close_connection = True
        return True

    return fault


def cut_blob(content: bytes, count: int) -> Fault:
    """Hangs up after ``count`` bytes of ``content``, which no path of the site has."""

    def fault(request: Request) -> bool:
        request.server.site.files[request.path] = content
        return cut_after(count)(request)

    return fault


def longer(request: Request) -> bool:
    """A body with more bytes than the range has."""
    content = request.server.site.files[request.path]
    start, last = request.wanted or (0, len(content) - 1)
    part = content[start : last + 1] + b"surplus"
    place = f"bytes {start}-{last}/{len(content)}"
    request.answer(206, {"Content-Length": str(len(part)), "Content-Range": place}, part)
    return True


def gzipped(request: Request) -> bool:
    """The whole file, compressed, though no compression was wanted."""
    body = gzip.compress(request.server.site.files[request.path])
    request.answer(200, {"Content-Length": str(len(body)), "Content-Encoding": "gzip"}, body)
    return True


def gzipped_range(request: Request) -> bool:
    """A range of the compressed file: of no use."""
    content = request.server.site.files[request.path]
    body = gzip.compress(content)[:10]
    headers = {
        "Content-Length": "10",
        "Content-Encoding": "gzip",
        "Content-Range": f"bytes 0-9/{len(content)}",
    }
    request.answer(206, headers, body)
    return True


def hang_up(request: Request) -> bool:
    """No answer at all."""
    request.close_connection = True
    return True


def damaged(request: Request) -> bool:
    """The right range with wrong bytes."""
    content = request.server.site.files[request.path]
    request.give(bytes(255 - byte for byte in content), etag='"damaged"')
    return True


def redirect(place: str) -> Fault:
    """302 to ``place``."""
    return status(302, Location=place)


def held(count: int, go_on: threading.Event, reached: threading.Event) -> Fault:
    """``count`` bytes of the body, and the rest when it may ``go_on``."""

    def fault(request: Request) -> bool:
        content = request.server.site.files[request.path]
        start, last = request.wanted or (0, len(content) - 1)
        part = content[start : last + 1]
        place = f"bytes {start}-{last}/{len(content)}"
        headers = {"Content-Length": str(len(part)), "Content-Range": place}
        request.answer(206 if request.wanted else 200, headers, part[:count])
        request.wfile.flush()
        reached.set()
        go_on.wait(60)
        request.wfile.write(part[count:])
        return True

    return fault


def instead(content: bytes) -> Fault:
    """From now on another file is there."""

    def fault(request: Request) -> bool:
        request.server.site.files[request.path] = content
        return False

    return fault
