"""OpenTelemetry: a trace of each request for a model's work, and the metrics of GenAI servers.

Only where the setting ``otlp_endpoint`` names a collector; the packages come with the extra
``telemetry``. The spans of queue, prefill and decode are made here, of the times that the worker
measures and tells with the last output. No text of a request is in any of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cupola.gateway.http.served import Finished
from cupola.scheduler.protocol.histograms import BETWEEN_TOKENS, TO_FIRST_TOKEN, WHOLE_REQUEST

SECONDS = 2.0  # for a collector to answer; the end of the service waits for it as well
_NAME = "cupola"
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/api/chat": "chat",
    "/v1/responses": "generate_content",
    "/v1/completions": "text_completion",
    "/api/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/api/embed": "embeddings",
}
# Names and buckets of the semantic conventions for generative AI.
_BUCKETS: dict[str, Sequence[float]] = {
    "gen_ai.server.time_to_first_token": TO_FIRST_TOKEN,
    "gen_ai.server.time_per_output_token": BETWEEN_TOKENS,
    "gen_ai.server.request.duration": WHOLE_REQUEST,
}


class Telemetry:
    """``tell`` it of each request that has ended. ``close`` sends what is left."""

    def __init__(self, exporter: SpanExporter, reader: MetricReader) -> None:
        about = Resource.create({"service.name": _NAME, "service.version": version(_NAME)})
        self._traces = TracerProvider(resource=about, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._traces.get_tracer(_NAME)
        views = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
            for name, bounds in _BUCKETS.items()
        ]
        self._metrics = MeterProvider([reader], about, shutdown_on_exit=False, views=views)
        meter = self._metrics.get_meter(_NAME)
        self._first, self._each, self._whole = (
            meter.create_histogram(name, unit="s") for name in _BUCKETS
        )
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, endpoint: str) -> Telemetry:
        """Send to the collector at ``endpoint``, by OTLP over HTTP."""
        base = endpoint.rstrip("/")
        metrics = OTLPMetricExporter(f"{base}/v1/metrics", timeout=SECONDS)
        return cls(
            OTLPSpanExporter(f"{base}/v1/traces", timeout=SECONDS),
            PeriodicExportingMetricReader(metrics),
        )

    def close(self) -> None:
        """Blocks while what is left is sent."""
        self._traces.shutdown()
        self._metrics.shutdown()

    def tell(self, request: Finished) -> None:
        served = request.served
        if not served.model:
            return  # no model worked for it
        # The spans have the time of the day; the request was measured by another clock.
        offset = time.time() - time.perf_counter()

        def moment(seconds: float) -> int:
            return int((seconds + offset) * 1e9)

        operation = _OPERATIONS.get(request.path, "generate_content")
        labels = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _NAME,
            "gen_ai.response.model": served.model,
        }
        parent = self._propagator.extract({"traceparent": request.traceparent})
        span = self._tracer.start_span(
            f"{operation} {served.model}",
            parent,
            SpanKind.SERVER,
            {
                **labels,
                "http.request.method": request.method,
                "http.response.status_code": request.status,
                "url.path": request.path,
                "gen_ai.response.id": request.id,
                "gen_ai.usage.input_tokens": served.prompt_tokens,
                "gen_ai.usage.output_tokens": served.completion_tokens,
            },
            start_time=moment(served.began),
        )
        if request.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
            labels |= {"error.type": str(request.status)}
        inside = set_span_in_context(span)
        for name, begin, end in served.phases():
            phase = self._tracer.start_span(name, inside, start_time=moment(begin))
            phase.end(moment(end))
        span.end(moment(request.ended))
        self._whole.record(request.ended - served.began, labels)
        if served.first_output:
            self._first.record(served.first_output - served.began, labels)
            if served.completion_tokens > 1:
                rest = (served.last_output - served.first_output) / (served.completion_tokens - 1)
                self._each.record(max(0.0, rest), labels)
