"""Foundry Local's management calls as Python methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from cupola.client import http
from cupola.client.errors import ResponseError, UnreachableError
from cupola.client.sdk.download_stream import DownloadStream

NOT_DOWNLOADED = "No OpenAIService provider found for modelName"  # the service's error text
OnProgress = Callable[[float], None]  # takes the percentage that is done


class Limits(Protocol):
    """httpx.Timeout, which apps of Foundry Local's SDK may give."""

    read: float | None  # seconds


Timeout = float | Limits | None


def seconds_of(timeout: Timeout) -> float | None:
    """How long to wait for each answer; None: without a limit."""
    return timeout if timeout is None or isinstance(timeout, int | float) else timeout.read


class Connection:
    """Asks the service at ``url``. ``timeout`` is for each wait; None: no limit.

    Every call is a connection of its own, so threads may share one of these.
    """

    def __init__(self, url: str, timeout: Timeout = None) -> None:
        self.url = url
        self.timeout = seconds_of(timeout)

    def get(self, path: str, query_params: Mapping[str, object] | None = None) -> Any:
        """The answer's value; None for an empty one. Raises ResponseError, UnreachableError."""
        return self._ask("GET", path + _query(query_params or {}))

    def post(self, path: str, body: object) -> Any:
        """Send JSON. Returns and raises as ``get``."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, target: str, body: object = None) -> Any:
        try:
            reply = http.request(method, self.url, target, self.timeout, body)
        except OSError as error:
            raise self._unreachable(error) from error
        if reply.status >= 400:
            raise ResponseError(reply.status, _reason(reply.status, reply.body))
        return json.loads(reply.body) if reply.body.strip() else None

    def post_with_progress(
        self, path: str, body: object = None, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """The object at the end of a download's report. Raises as ``get``, and DownloadError."""
        stream = DownloadStream()
        try:
            with http.open_reply("POST", self.url, path, None, body or {}) as response:
                if response.status >= 400:
                    raise ResponseError(response.status, _reason(response.status, response.read()))
                for line in response:
                    percent = stream.take(line.decode("utf-8", "replace"))
                    if percent is not None and on_progress is not None:
                        on_progress(percent)
        except OSError as error:
            raise self._unreachable(error) from error
        return stream.result()

    # -- models ------------------------------------------------------------------------------------

    def load(self, model_id: str, ttl: float | None = None, ep: str | None = None) -> None:
        """Load a model; ``ttl`` in seconds. Returns when it is in memory."""
        self.get(f"/openai/load/{quote(model_id, safe=':')}", {"ttl": ttl, "ep": ep})

    def unload(self, model_id: str, force: bool) -> None:
        """Unload a model; one with a time to live only by force."""
        self.get(f"/openai/unload/{quote(model_id, safe=':')}", {"force": force})

    def loaded(self) -> list[str]:
        """The ids of the models in memory."""
        return [str(model) for model in self.get("/openai/loadedmodels") or []]

    def model(self, model_id: str) -> dict[str, Any]:
        """The service's record of a model."""
        return dict(self.get(f"/v1/models/{quote(model_id, safe=':')}") or {})

    def _unreachable(self, error: OSError) -> UnreachableError:
        return UnreachableError(
            f"The service at {self.url} does not answer: {error}",
            "To see whether it runs: cupola service status",
        )


def _query(given: Mapping[str, object]) -> str:
    fields = {key: _text(value) for key, value in given.items() if value is not None}
    return f"?{urlencode(fields)}" if fields else ""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reason(status: int, body: bytes) -> str:
    """The message in an error's body, which is in OpenAI's shape or plain text."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return text or f"The service answered with HTTP status {status}"
