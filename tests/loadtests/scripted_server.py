"""An OpenAI-compatible server on a loopback port that answers as a test wants it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = ["all-minilm", "tiny"]
END = "data: [DONE]\n\n"
Frames = Callable[[dict[str, Any]], list[str]]


def frame(value: object) -> str:
    return f"data: {json.dumps(value)}\n\n"


def piece(text: str, **more: Any) -> str:
    """A chunk of an answer's text."""
    return frame({"choices": [{"index": 0, "delta": {"content": text}, **more}]})


def usage(tokens: int) -> str:
    return frame({"choices": [], "usage": {"completion_tokens": tokens, "prompt_tokens": 5}})


def good(body: dict[str, Any]) -> list[str]:
    """Three pieces of four tokens, or a document where a schema is wanted."""
    words = ['{"title": ', '"a", "people": 1, ', '"sad": false}']
    last = piece("", finish_reason="stop")
    return [*map(piece, words), last, usage(4), END]


def without_usage(body: dict[str, Any]) -> list[str]:
    return [frame for frame in good(body) if "usage" not in frame]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with five, the system resets some connections of a flood


class ScriptedServer:
    """``frames`` makes the events of a stream; ``status`` is that of all answers to POST.

    ``dies_after``: so many answers are given; the next one breaks, and then nobody listens.
    """

    def __init__(
        self, frames: Frames = good, status: int = 200, dies_after: int | None = None
    ) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.paths: list[str] = []
        self._frames, self._status, self._left = frames, status, dies_after
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _next(self) -> int | None:
        """How many answers are left before this one; 0: it breaks; below: the server is dead."""
        with self._lock:
            if self._left is not None:
                self._left -= 1
                return self._left + 1
            return None

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                self._json({"data": [{"id": name} for name in MODELS]}, 200)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                server.paths.append(self.path)
                server.keys.add(self.headers["Authorization"])
                if server._status != 200:
                    self._json({"error": {"message": "not today"}}, server._status)
                elif body.get("stream"):
                    self._stream(server._frames(body))
                else:
                    self._json({"data": [{"embedding": [0.0]}]}, 200)

            def _stream(self, frames: list[str]) -> None:
                left = server._next()
                dies = left is not None and left <= 0
                if dies:
                    server._http.socket.close()
                    self.close_connection = True
                if left is not None and left < 0:
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Content-Length", str(sum(map(len, frames)) + dies))
                self.end_headers()
                self.wfile.write("".join(frames[:2]).encode())
                time.sleep(0.002)  # pieces that come at once are one moment
                self.wfile.write("".join(frames[2:]).encode())

            def _json(self, value: object, status: int) -> None:
                if server._left is not None and server._left < 0:  # it is dead
                    self.close_connection = True
                    return
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Tests read no log."""

        Handler.protocol_version = "HTTP/1.1"
        return Handler
