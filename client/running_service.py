"""Finds the running service, asks it how it is, and chats with it.

The service writes a file when it starts, which says where it listens. A killed service leaves the
file behind, so the socket is always asked.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cupola.cache.home import Home
from cupola.cache.system.local_url import local_url
from cupola.client import http
from cupola.client.certificate import context_for
from cupola.client.errors import ClientError, NoAnswerError
from cupola.client.local_key import headers_for
from cupola.client.sse import DONE, EventDecoder

DEFAULT_PORT = 5273  # of the settings' defaults
ANSWER_SECONDS = 5.0  # a service that has just bound its port answers after its imports


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that has answered."""

    url: str
    pid: int
    started_at: datetime | None = field(default=None, compare=False)

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def address(self) -> tuple[str, int]:
        return http.address(self.url)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an answer ended, and how many tokens it took."""

    finish_reason: str | None
    usage: Mapping[str, int]


def find(home: Home) -> RunningService | None:
    """The running service of this data folder, or None.

    Raises NoAnswerError when a program listens at its address but does not answer.
    """
    if service := find_announced(home):
        return service
    url = configured_url(home)
    return _ask(url, home) if url else None


def find_announced(home: Home) -> RunningService | None:
    """The running service that wrote the folder's daemon file. Raises NoAnswerError."""
    try:
        record = json.loads(home.daemon_file.read_text("utf-8"))
        url, pid = str(record["web_urls"][0]).rstrip("/"), int(record["pid"])
        begun = record.get("started_at")
        started_at = datetime.fromisoformat(begun) if begun else None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # none there, or not one that a service wrote
    service = _ask(url, home, pid)
    return replace(service, started_at=started_at) if service else None


def configured_url(home: Home) -> str | None:
    """The address of the settings; None where they do not say.

    Reads only two settings: loading them all takes longer than ``cupola service status`` may take.
    """
    try:
        filed = tomllib.loads(home.settings_file.read_text("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        filed = {}
    except (OSError, ValueError):
        return None
    host = os.environ.get("CUPOLA_HOST") or str(filed.get("host", "localhost"))
    port = os.environ.get("CUPOLA_PORT") or str(filed.get("port", DEFAULT_PORT))
    return local_url(host, int(port)) if port.isdecimal() and 0 < int(port) < 65536 else None


def is_ready(service: RunningService) -> bool:
    """Whether a worker can serve."""
    try:
        return http.request("GET", service.url, "/ready", ANSWER_SECONDS).status == 200
    except OSError:
        return False


def shut_down(service: RunningService) -> None:
    """Ask the service to stop; it answers before it does. Raises ClientError."""
    try:
        reply = http.request("POST", service.url, "/shutdown", ANSWER_SECONDS)
    except OSError as error:
        raise ClientError(f"The service at {service.url} does not answer: {error}") from error
    if reply.status != 200:
        raise ClientError(failure(reply.status, reply.body))


def chat(
    service: RunningService, model: str, messages: Sequence[Mapping[str, str]], **options: Any
) -> Generator[str, None, Ending]:
    """The answer's text, piece by piece. Closing the iterator cancels the generation.

    ``options`` are further parameters of OpenAI's chat completions; None: not given.

    Raises ClientError.
    """
    import httpx2

    # An answer may have to wait for other requests and for the model to be loaded: no time limit.
    # The service is on this machine: a proxy of the environment has no part in it.
    headers = headers_for(service.url)
    tls = context_for(service.url) if service.url.startswith("https:") else True
    client = httpx2.Client(
        base_url=service.url, timeout=None, trust_env=False, headers=headers, verify=tls
    )
    body = {"model": model, "messages": messages, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    body |= {key: value for key, value in options.items() if value is not None}
    try:
        with client, client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.is_success:
                return (yield from _pieces(response.iter_bytes()))
            raise ClientError(failure(response.status_code, response.read()))
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ClientError(
            f"The service broke off: {reason}", "Its log may say why: cupola service logs"
        ) from error


def _pieces(chunks: Iterable[bytes]) -> Generator[str, None, Ending]:
    decoder = EventDecoder()
    finish_reason: str | None = None
    usage: Mapping[str, Any] = {}
    for chunk in chunks:
        for data in decoder.feed(chunk):
            if data == DONE:
                return Ending(finish_reason, _counts(usage))
            event = json.loads(data)
            if error := event.get("error"):
                raise ClientError(error["message"])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                finish_reason = choice.get("finish_reason") or finish_reason
                if text := choice["delta"].get("content"):
                    yield text
    raise ClientError(
        "The service broke off its answer", "Its log may say why: cupola service logs"
    )


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    names = {"promptTokens": "prompt_tokens", "completionTokens": "completion_tokens"}
    return {ours: int(usage[name]) for ours, name in names.items() if name in usage}


def failure(status: int, body: bytes) -> str:
    """The text of an error in OpenAI's shape."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"The service answered with HTTP status {status}"


def _ask(url: str, home: Home, pid: int | None = None) -> RunningService | None:
    """The service at ``url`` if it is that of ``home``, or the one that announced itself there."""
    try:
        status = http.request("GET", url, "/status", ANSWER_SECONDS).json()
        answered, models = int(status["pid"]), Path(status["modelCachePath"])
    except http.SilentError:
        raise NoAnswerError(
            f"What listens on {url.partition('//')[2]} does not answer",
            f"If it is a service that hangs, its log is in {home.logs}",
        ) from None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # nothing there, or another program
    if pid != answered and models != home.models:
        return None  # a service, but of another data folder
    return RunningService(url, pid or answered)
