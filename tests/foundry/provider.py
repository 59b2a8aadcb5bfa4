"""A small server that speaks OpenAI's API, for the service to pass requests on to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Provider:
    """Answers every POST with what it was asked; a stream waits for ``go_on`` before its end."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.go_on = threading.Event()
        self.left = threading.Event()  # the other side closed during a stream
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(content)
                headers = {key.lower(): value for key, value in self.headers.items()}
                provider.asked.append((self.path, headers, body))
                if body.get("stream"):
                    provider.stream(self)
                else:
                    provider.answer(self, body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        self.base = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Provider:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, to: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        refused = body.get("refuse")
        content = json.dumps({"error": {"message": "no"}} if refused else {"id": "far-1"}).encode()
        to.send_response(429 if refused else 200)
        if refused:
            to.send_header("Retry-After", "7")
        to.send_header("Content-Type", "application/json")
        to.send_header("Content-Length", str(len(content)))
        to.send_header("Set-Cookie", "not=forwarded")
        to.end_headers()
        to.wfile.write(content)

    def stream(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "text/event-stream")
        to.send_header("Connection", "close")
        to.end_headers()
        to.wfile.write(b'data: {"n":1}\n\n')
        to.wfile.flush()
        to.connection.settimeout(60)
        threading.Thread(target=self._watch, args=(to.connection,), daemon=True).start()
        self.go_on.wait()
        try:
            to.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            return
        finally:
            to.close_connection = True

    def _watch(self, connection: Any) -> None:
        try:
            if connection.recv(1) == b"":
                self.left.set()
        except OSError:
            self.left.set()
