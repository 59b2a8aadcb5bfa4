"""What the service has done and holds, in Prometheus's text format.

The numbers are the scheduler's, so every gateway process gives the same. It is asked each time.
They begin again at zero when the scheduler restarts, as counters may.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from cupola.gateway.operations.process_memory import ProcessMemory
from cupola.scheduler.protocol.histograms import BOUNDS, Histogram
from cupola.scheduler.protocol.messages import Outcome, Status

PREFIX = "cupola_"
# Of the distributions, by the scheduler's names: the metric and its meaning.
DISTRIBUTIONS = {
    "to_first_token": (
        "time_to_first_token_seconds",
        "From a request's arrival in the scheduler to its first output",
    ),
    "between_tokens": ("inter_token_latency_seconds", "Between two tokens of an answer"),
    "whole_request": (
        "e2e_request_latency_seconds",
        "From a request's arrival in the scheduler to its end",
    ),
    "requests_of_a_step": ("step_requests", "Requests that had output in the same step"),
    "turns": ("scheduler_loop_seconds", "Turns of the scheduler's loop, without its waiting"),
}

# (values of the labels, value) of each series of a metric.
Series = Iterable[tuple[tuple[str, ...], float]]


def render(status: Status | None, memory: Mapping[str, ProcessMemory] | None = None) -> str:
    """``status``: None while the scheduler does not answer. ``memory``: by process."""
    registry = CollectorRegistry()
    registry.register(_Reading(status, memory or {}))
    return generate_latest(registry).decode()


class _Reading(Collector):
    """One look at the service."""

    def __init__(self, status: Status | None, memory: Mapping[str, ProcessMemory]) -> None:
        self._status = status
        self._memory = memory

    def collect(self) -> Iterator[Metric]:
        status = self._status
        up = [((), float(status is not None))]
        yield from _processes_memory(self._memory)
        yield _gauge("scheduler_up", "1 while the scheduler answers", up)
        if status is not None:
            yield from _requests(status)
            yield from _tokens(status)
            yield from _distributions(status)
            yield from _workers(status)
            yield from _models(status)


def _requests(status: Status) -> Iterator[Metric]:
    totals = status.totals
    yield _counter(
        "requests",
        "Requests for text, tokens or vectors that have ended",
        [((name,), getattr(totals, name)) for name in Outcome],
        ["outcome"],
    )
    yield _counter(
        "http_responses",
        "HTTP answers of all gateways",
        [((str(code),), count) for code, count in status.http.items()],
        ["status"],
    )
    waiting = "Requests that wait for a worker"
    yield _gauge("num_requests_waiting", waiting, [((), status.queued)])
    yield _gauge(
        "oldest_waiting_seconds",
        "How long the oldest of them has waited",
        [((), round(status.oldest_seconds, 3))],
    )
    yield _counter(
        "malformed_frames",
        "Frames to the scheduler that were no messages",
        [((), totals.malformed_frames)],
    )


def _tokens(status: Status) -> Iterator[Metric]:
    totals = status.totals
    read = "Tokens of prompts that were read"
    yield _counter("prompt_tokens", read, [((), totals.prompt_tokens)])
    cached = "Tokens of prompts that were in the cache and were not computed again"
    yield _counter("cached_prompt_tokens", cached, [((), totals.cached_tokens)])
    made = "Tokens that were generated, whatever became of their requests"
    yield _counter("completion_tokens", made, [((), totals.completion_tokens)])
    yield _counter(
        "prediction_tokens",
        "Tokens that were guessed and then verified",
        [
            (("accepted",), totals.accepted_prediction_tokens),
            (("rejected",), totals.rejected_prediction_tokens),
        ],
        ["outcome"],
    )


def _distributions(status: Status) -> Iterator[Metric]:
    for name, (metric, text) in DISTRIBUTIONS.items():
        told: Histogram = getattr(status.distributions, name)
        buckets, below = [], 0
        counts = told.counts or (0,) * (len(BOUNDS[name]) + 1)
        for bound, count in zip((*BOUNDS[name], math.inf), counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == math.inf else repr(float(bound)), float(below)))
        yield HistogramMetricFamily(PREFIX + metric, text, buckets, told.total)


def _workers(status: Status) -> Iterator[Metric]:
    missing = "Workers that do not run"
    yield _gauge("workers_missing", missing, [((), len(status.missing))])
    restarts = "Worker processes that were started again"
    yield _counter("worker_restarts", restarts, [((), status.totals.worker_restarts)])
    workers = [((worker.name,), worker) for worker in status.workers]
    for name, text, values in (
        (
            "num_requests_running",
            "Requests that a worker has taken, and loads",
            [(labels, worker.running) for labels, worker in workers],
        ),
        (
            "worker_slots",
            "Requests that a worker takes at once",
            [(labels, worker.slots) for labels, worker in workers],
        ),
        (
            "worker_memory_bytes",
            "Resident memory of a worker",
            [(labels, worker.memory_bytes) for labels, worker in workers],
        ),
    ):
        yield _gauge(name, text, values, ["worker"])


def _processes_memory(memory: Mapping[str, ProcessMemory]) -> Iterator[Metric]:
    for name, text, values in (
        (
            "process_resident_memory_bytes",
            "Resident memory of a process",
            [((process,), each.resident) for process, each in memory.items()],
        ),
        (
            "process_proportional_memory_bytes",
            "Memory of a process, in which shared pages count in parts (PSS)",
            [((process,), each.proportional) for process, each in memory.items()],
        ),
    ):
        yield _gauge(name, text, values, ["process"])


def _models(status: Status) -> Iterator[Metric]:
    totals = status.totals
    yield _counter("model_loads", "Models that were loaded", [((), totals.loads)])
    seconds = [((), totals.audio_seconds)]
    yield _counter("audio_seconds", "Seconds of recordings that were transcribed", seconds)
    yield _counter("model_unloads", "Models that left the memory", [((), totals.unloads)])
    evicted = "Of them, those that made room for another"
    yield _counter("model_evictions", evicted, [((), totals.evictions)])
    both = ["worker", "model"]
    loaded = [((worker.name, model), 1) for worker in status.workers for model in worker.resident]
    yield _gauge("model_loaded", "Models in a worker's memory", loaded, both)
    served = [
        ((worker.name, model), serving)
        for worker in status.workers
        for model, serving in worker.serving.items()
    ]
    for name, text, values in (
        (
            "model_weight_bytes",
            "Weights of a loaded model; those on a disk that is mapped are shared by workers",
            [(labels, serving.weight_bytes) for labels, serving in served],
        ),
        (
            "kv_cache_usage_perc",
            "How much of the room for keys and values running requests take; 1: all",
            [(labels, serving.kv_usage) for labels, serving in served],
        ),
        (
            "prefix_cache_bytes",
            "Keys and values of earlier prompts that are kept beside those in slots",
            [(labels, serving.kept_bytes) for labels, serving in served],
        ),
        (
            "prefix_cache_hit_tokens",
            "Tokens of prompts that were found among them, since the model was loaded",
            [(labels, serving.kept_hits) for labels, serving in served],
        ),
    ):
        yield _gauge(name, text, values, both)


def _gauge(name: str, text: str, series: Series, labels: Iterable[str] = ()) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[*labels])
    for values, value in series:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, series: Series, labels: Iterable[str] = ()) -> Metric:
    """Prometheus adds ``_total`` to the name."""
    family = CounterMetricFamily(PREFIX + name, text, labels=[*labels])
    for values, value in series:
        family.add_metric(values, value)
    return family
