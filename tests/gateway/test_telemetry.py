"""Traces and metrics for OpenTelemetry, as a collector gets them over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cupola.gateway.http.served import Served
from cupola.gateway.telemetry import Telemetry
from cupola.scheduler.protocol.messages import Outputs
from cupola.scheduler.protocol.outputs import FinishReason, Output, Timings, Usage
from tests.gateway.running_gateway import HELLO, MODEL_ID, RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    def __init__(self) -> None:
        self.got: dict[str, bytes] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.got[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def timed(message: Any) -> Iterator[Outputs]:
    usage = Usage(5, 3)
    yield Outputs((Output(message.request_id, "One", made=1),))
    timings = Timings(usage, 0.0, 0.0)
    end = Output(message.request_id, " two", FinishReason.STOP, usage, timings=timings, made=2)
    yield Outputs((end,))


def test_a_request_is_a_trace_below_the_clients_own(
    scheduler: ScriptedScheduler, home: Path, collector: Collector
) -> None:
    scheduler.script = timed
    telemetry = Telemetry.to(collector.url)
    with (
        RunningGateway(scheduler.endpoint, home, told=[telemetry.tell]) as gateway,
        gateway.http() as http,
    ):
        parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        http.post("/v1/chat/completions", json=HELLO, headers=parent)
        http.get("/health")  # no model works for it
    telemetry.close()
    traces = ExportTraceServiceRequest.FromString(collector.got["/v1/traces"])
    [resource] = traces.resource_spans
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "cupola"
    spans = {span.name: span for scope in resource.scope_spans for span in scope.spans}
    assert set(spans) == {f"chat {MODEL_ID}", "queue", "prefill"}
    root = spans.pop(f"chat {MODEL_ID}")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    about = {each.key: each.value for each in root.attributes}
    assert about["gen_ai.operation.name"].string_value == "chat"
    assert about["gen_ai.usage.input_tokens"].int_value == 5
    assert about["gen_ai.usage.output_tokens"].int_value == 3
    for span in spans.values():
        assert span.parent_span_id == root.span_id
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    assert b"Hello" not in collector.got["/v1/traces"]
    metrics = ExportMetricsServiceRequest.FromString(collector.got["/v1/metrics"])
    told = {
        metric.name: metric.histogram.data_points[0].count
        for scope in metrics.resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }
    assert told == {
        "gen_ai.server.request.duration": 1,
        "gen_ai.server.time_to_first_token": 1,
        "gen_ai.server.time_per_output_token": 1,
    }


def test_phases_follow_each_other_without_a_gap() -> None:
    served = Served(1.0, submitted=2.0, last_output=10.0)
    served.prompt_seconds, served.generation_seconds = 1.5, 4.0
    assert list(served.phases()) == [
        ("queue", 2.0, 4.5),
        ("prefill", 4.5, 6.0),
        ("decode", 6.0, 10.0),
    ]


def test_a_worker_that_measures_more_than_there_was_makes_no_span_before_the_request() -> None:
    served = Served(1.0, submitted=2.0, last_output=3.0)
    served.prompt_seconds, served.generation_seconds = 50.0, 40.0
    assert all(2.0 <= begin <= end <= 3.0 for _, begin, end in served.phases())
    assert list(Served(1.0, submitted=2.0).phases()) == []
