"""/metrics: what the scheduler counts, as Prometheus reads it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.operations.metrics import render
from cupola.gateway.operations.process_memory import memory_of
from cupola.scheduler.protocol.histograms import Distributions, Histogram
from cupola.scheduler.protocol.messages import Outcome, Status
from cupola.scheduler.protocol.status import Serving, Totals, WorkerStatus
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

ROOT = Path(__file__).parents[3]
LINE = re.compile(r'cupola_\w+(\{\w+="(?:[^"\\\n]|\\.)*"(,\w+="(?:[^"\\\n]|\\.)*")*\})? \d[\d.e+]*')


def status() -> Status:
    return Status(
        "first",
        queued=3,
        workers=(
            WorkerStatus(
                "cpu:0/0",
                ExecutionProvider.CPU,
                1,
                2,
                4096,
                ("m:1", 'o"\n:1'),
                serving={
                    "m:1": Serving(
                        "batching", kept_bytes=50, kept_hits=9, kv_usage=0.25, weight_bytes=900
                    )
                },
                slots=16,
            ),
        ),
        missing=("cpu:0/1",),
        totals=Totals(
            answered=7,
            refused=2,
            failed=1,
            aborted=3,
            prompt_tokens=100,
            completion_tokens=50,
            cached_tokens=40,
            accepted_prediction_tokens=12,
            rejected_prediction_tokens=4,
            malformed_frames=8,
            loads=4,
            evictions=2,
            worker_restarts=6,
        ),
        http={200: 9, 429: 5},
        oldest_seconds=1.5,
        distributions=Distributions(
            requests_of_a_step=Histogram((0, 1, 2, 0, 0, 0, 0, 0, 0, 0), 8.0)
        ),
    )


def test_every_line_is_a_comment_or_a_sample_behind_its_comments() -> None:
    described = set()
    for line in render(status()).splitlines():
        if line.startswith("# TYPE "):
            described.add(line.split()[2])
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
            name = re.split(r"[ {]", line)[0]
            assert re.sub("_(bucket|sum|count)$", "", name) in described or name in described


def test_guesses_tokens_and_requests_are_told(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.status = status()
    with gateway.http() as http:
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {line for line in answer.text.splitlines() if not line.startswith("#")}
    assert samples >= {
        "cupola_scheduler_up 1.0",
        'cupola_requests_total{outcome="answered"} 7.0',
        'cupola_requests_total{outcome="refused"} 2.0',
        'cupola_requests_total{outcome="failed"} 1.0',
        'cupola_requests_total{outcome="aborted"} 3.0',
        'cupola_http_responses_total{status="429"} 5.0',
        "cupola_prompt_tokens_total 100.0",
        "cupola_cached_prompt_tokens_total 40.0",
        "cupola_completion_tokens_total 50.0",
        'cupola_prediction_tokens_total{outcome="accepted"} 12.0',
        'cupola_prediction_tokens_total{outcome="rejected"} 4.0',
        "cupola_num_requests_waiting 3.0",
        "cupola_oldest_waiting_seconds 1.5",
        "cupola_workers_missing 1.0",
        "cupola_worker_restarts_total 6.0",
        "cupola_malformed_frames_total 8.0",
        "cupola_model_loads_total 4.0",
        "cupola_model_evictions_total 2.0",
        'cupola_model_weight_bytes{model="m:1",worker="cpu:0/0"} 900.0',
        'cupola_num_requests_running{worker="cpu:0/0"} 2.0',
        'cupola_worker_slots{worker="cpu:0/0"} 16.0',
        'cupola_worker_memory_bytes{worker="cpu:0/0"} 4096.0',
        'cupola_kv_cache_usage_perc{model="m:1",worker="cpu:0/0"} 0.25',
        'cupola_prefix_cache_bytes{model="m:1",worker="cpu:0/0"} 50.0',
        'cupola_prefix_cache_hit_tokens{model="m:1",worker="cpu:0/0"} 9.0',
        'cupola_model_loaded{model="m:1",worker="cpu:0/0"} 1.0',
        'cupola_model_loaded{model="o\\"\\n:1",worker="cpu:0/0"} 1.0',
        'cupola_step_requests_bucket{le="2.0"} 1.0',
        'cupola_step_requests_bucket{le="4.0"} 3.0',
        'cupola_step_requests_bucket{le="+Inf"} 3.0',
        "cupola_step_requests_sum 8.0",
    }


def test_every_http_answer_is_counted_once(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    told = Counter[int]()
    scheduler.on_query = lambda query: told.update(query.http)
    with gateway.http() as http:
        for path in ("/health", "/health", "/nothing"):
            http.get(path)
        http.get("/metrics")  # asks the scheduler
        http.get("/metrics")
    assert told[404] == 1
    assert told[200] == 3


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"cupola_\w+", target["expr"])
    }
    names = set()
    for line in render(status()).splitlines():
        if not line.startswith("#"):
            names.add(re.split(r"[ {]", line)[0])
    assert len(asked) > 12
    assert asked - names == set()


def test_the_page_names_the_metrics_and_the_outcomes() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    section = page.partition("## Metrics")[2].partition("\n## ")[0]
    metrics, outcomes = section.split("| `outcome` of a request")
    told = {name.removeprefix("cupola_") for name in re.findall(r"# TYPE (\w+)", render(status()))}
    rows = "".join(re.findall(r"^\| (`.*?) \|", metrics, re.M))
    assert set(re.findall(r"`(\w+)`", rows)) == told
    assert set(re.findall(r"^\| `(\w+)` \|", outcomes, re.M)) == set(Outcome)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in files")
def test_the_memory_of_every_process_is_told(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    # In the test the gateway, the scheduler and the supervisor are this process.
    own = os.getpid()
    worker = replace(status().workers[0], pid=own)
    scheduler.status = replace(status(), pid=own, workers=(worker,), gateways=(own,))
    with gateway.http() as http:
        text = http.get("/metrics").text
    for kind in ("resident", "proportional"):
        found = re.findall(
            rf'^cupola_process_{kind}_memory_bytes\{{process="(.+)"\}} (.+)$', text, re.M
        )
        names = {"supervisor", "scheduler", f"gateway {own}", "worker cpu:0/0"}
        assert set(dict(found)) == names
        assert all(float(value) > 10 * 2**20 for _, value in found)


def test_what_has_ended_or_never_was_has_no_memory(tmp_path: Path) -> None:
    assert memory_of({"scheduler": 0, "gateway": 7}, tmp_path) == {}


def test_without_a_scheduler_only_that_is_told() -> None:
    assert render(None).splitlines()[-1] == "cupola_scheduler_up 0.0"
