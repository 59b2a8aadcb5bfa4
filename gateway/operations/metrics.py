"""What the service has done and holds, in Prometheus's text format.

The numbers are the scheduler's, so every gateway process gives the same. It is asked each time.
They begin again at zero when the scheduler restarts, as counters may.
"""

from __future__ import annotations

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cupola.gateway.core.scheduler_client import SchedulerClient
from cupola.gateway.openapi.described import TEXT, Operation, Section, get
from cupola.scheduler.protocol.messages import Outcome, Status

MEDIA_TYPE = f"{TEXT}; version=0.0.4; charset=utf-8"

# (labels, value) of each series of a metric.
Series = list[tuple[dict[str, str], int]]


class MetricsApi:
    def __init__(self, client: SchedulerClient) -> None:
        self._client = client

    def routes(self) -> list[Route]:
        about = "Requests, tokens, guesses, memory; in Prometheus's text format."
        described = Operation(Section.SERVICE, "Counters", about, answer=str, media=TEXT)
        return [get("/metrics", self.metrics, described)]

    async def metrics(self, request: Request) -> Response:
        status = await self._client.status_now()
        return Response(render(status), headers={"content-type": MEDIA_TYPE})


def render(status: Status | None) -> str:
    """``status``: None while the scheduler does not answer."""
    lines = [
        _metric("scheduler_up", "gauge", "1 while the scheduler answers", [({}, bool(status))])
    ]
    if status is not None:
        lines += [_metric(*metric) for metric in _metrics(status)]
    return "".join(lines)


def _metrics(status: Status) -> Iterator[tuple[str, str, str, Series]]:
    """(name, kind, help, series) of every metric in ``status``."""
    totals = status.totals
    requests: Series = [({"outcome": name}, getattr(totals, name)) for name in Outcome]
    guesses = [
        ({"outcome": "accepted"}, totals.accepted_prediction_tokens),
        ({"outcome": "rejected"}, totals.rejected_prediction_tokens),
    ]
    text = "Requests for text, tokens or vectors that have ended"
    yield "requests_total", "counter", text, requests
    text = "Tokens of prompts that were read"
    yield "prompt_tokens_total", "counter", text, [({}, totals.prompt_tokens)]
    text = "Tokens of prompts that were in the cache and were not computed again"
    yield "cached_prompt_tokens_total", "counter", text, [({}, totals.cached_tokens)]
    text = "Tokens that were generated, whatever became of their requests"
    yield "completion_tokens_total", "counter", text, [({}, totals.completion_tokens)]
    text = "Tokens that were guessed and then verified"
    yield "prediction_tokens_total", "counter", text, guesses
    yield "requests_queued", "gauge", "Requests that wait for a worker", [({}, status.queued)]
    yield (
        "workers_missing",
        "gauge",
        "Workers that do not run",
        [({}, len(status.missing))],
    )
    workers = [({"worker": worker.name}, worker) for worker in status.workers]
    running = [(labels, worker.running) for labels, worker in workers]
    text = "Requests that a worker has taken, and loads"
    yield "requests_running", "gauge", text, running
    memory = [(labels, worker.memory_bytes) for labels, worker in workers]
    yield "worker_memory_bytes", "gauge", "Resident memory of a worker", memory
    models = [(ls | {"model": m}, each) for ls, w in workers for m, each in w.serving.items()]
    kept = [(labels, each.kept_bytes) for labels, each in models]
    text = "Keys and values of earlier prompts that are kept beside those in slots"
    yield "prefix_cache_bytes", "gauge", text, kept
    hits = [(labels, each.kept_hits) for labels, each in models]
    text = "Tokens of prompts that were found among them, since the model was loaded"
    yield "prefix_cache_hit_tokens", "gauge", text, hits
    loaded = [(labels | {"model": model}, 1) for labels, w in workers for model in w.resident]
    yield "model_loaded", "gauge", "Models in a worker's memory", loaded


def _metric(name: str, kind: str, text: str, series: Series) -> str:
    head = f"# HELP cupola_{name} {text}\n# TYPE cupola_{name} {kind}\n"
    return head + "".join(f"cupola_{name}{_labels(ls)} {int(value)}\n" for ls, value in series)


def _labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
