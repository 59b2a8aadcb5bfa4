"""/metrics: what the scheduler counts, as Prometheus reads it."""

from __future__ import annotations

import re
from pathlib import Path

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.operations.metrics import render
from cupola.scheduler.protocol.messages import Outcome, Serving, Status, Totals, WorkerStatus
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_scheduler import ScriptedScheduler

LINE = re.compile(r'cupola_\w+(\{\w+="(?:[^"\\\n]|\\.)*"(,\w+="(?:[^"\\\n]|\\.)*")*\})? \d+')


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
                serving={"m:1": Serving("batching", kept_bytes=50, kept_hits=9)},
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
        ),
    )


def test_every_line_is_a_comment_or_a_sample_behind_its_comments() -> None:
    described = set()
    for line in render(status()).splitlines():
        if line.startswith("# TYPE "):
            described.add(line.split()[2])
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
            assert re.split(r"[ {]", line)[0] in described


def test_guesses_tokens_and_requests_are_told(
    gateway: RunningGateway, scheduler: ScriptedScheduler
) -> None:
    scheduler.status = status()
    with gateway.http() as http:
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert samples == [
        "cupola_scheduler_up 1",
        'cupola_requests_total{outcome="answered"} 7',
        'cupola_requests_total{outcome="refused"} 2',
        'cupola_requests_total{outcome="failed"} 1',
        'cupola_requests_total{outcome="aborted"} 3',
        "cupola_prompt_tokens_total 100",
        "cupola_cached_prompt_tokens_total 40",
        "cupola_completion_tokens_total 50",
        'cupola_prediction_tokens_total{outcome="accepted"} 12',
        'cupola_prediction_tokens_total{outcome="rejected"} 4',
        "cupola_requests_queued 3",
        "cupola_workers_missing 1",
        'cupola_requests_running{worker="cpu:0/0"} 2',
        'cupola_worker_memory_bytes{worker="cpu:0/0"} 4096',
        'cupola_prefix_cache_bytes{worker="cpu:0/0",model="m:1"} 50',
        'cupola_prefix_cache_hit_tokens{worker="cpu:0/0",model="m:1"} 9',
        'cupola_model_loaded{worker="cpu:0/0",model="m:1"} 1',
        'cupola_model_loaded{worker="cpu:0/0",model="o\\"\\n:1"} 1',
    ]


def test_the_page_names_the_metrics_and_the_outcomes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text("utf-8")
    section = page.partition("## Metrics")[2].partition("\n## ")[0]
    metrics, outcomes = section.split("| `outcome` of a request")
    told = {name.removeprefix("cupola_") for name in re.findall(r"# TYPE (\w+)", render(status()))}
    rows = "".join(re.findall(r"^\| (`.*?) \|", metrics, re.M))
    assert set(re.findall(r"`(\w+)`", rows)) == told
    assert set(re.findall(r"^\| `(\w+)` \|", outcomes, re.M)) == set(Outcome)


def test_without_a_scheduler_only_that_is_told() -> None:
    assert render(None).splitlines()[-1] == "cupola_scheduler_up 0"
