"""A run of locust: its options, the models of its server, its load shape, and its records.

Locust calls the listeners here at each event of a run, once this module is imported.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
from argparse import ArgumentTypeError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import httpx2
from gevent.lock import BoundedSemaphore
from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

from cupola.cache.home import Home
from cupola.loadtests.host import machine
from cupola.loadtests.host.own_service import DidNotStart, OwnService
from cupola.loadtests.load.results import Objective, Record, Results, table
from cupola.loadtests.load.server import (
    Models,
    Unreachable,
    base_address,
    choose_models,
    loopback,
)
from cupola.loadtests.report.run_page import Sample, run_page, sample
from cupola.loadtests.users.http_client import HttpClient
from cupola.loadtests.users.shapes import SHAPES, users_at

HOST = "http://127.0.0.1:5273"
RUN_SECONDS = 120
SAMPLE_SECONDS = 1.0


@dataclass
class Run:
    """What all users of this process share."""

    results: Results
    objective: Objective
    unreachable_since: float | None = None
    models: dict[str, Models] = field(default_factory=dict)  # of each address
    asking: BoundedSemaphore = field(default_factory=BoundedSemaphore)
    report: Path | None = None
    users: int = 0  # that have been started
    samples: list[Sample] = field(default_factory=list)  # of the service, each second
    about: list[str] = field(default_factory=list)  # for the report
    unsent: list[Record] | None = None  # of a process whose master collects the records
    service: OwnService | None = None  # that is to be stopped in the end


run = Run(Results(), Objective(1, 0.2))


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:

    def option(flag: str, default: Any, about: str, **more: Any) -> None:
        variable = f"LOADTEST_{flag.upper().replace('-', '_')}"
        parser.add_argument(f"--{flag}", default=default, env_var=variable, help=about, **more)

    option("model", "", "empty: the first that the server lists")
    option("embedding-model", "", "empty: the first that the server lists and whose name says so")
    option("api-key", "", "for servers that want one", is_secret=True)
    option("arrivals", "closed", "how requests come", choices=["closed", "poisson"])
    option("rate", 0.2, "requests a second of each user, with --arrivals poisson", type=float)
    option("shape", "steady", "number of users over time, up to --users", choices=SHAPES)
    option("seed", 0, "another one asks other things", type=int)
    option("ttft-objective", 1000, "ms, for goodput", type=float)
    option("itl-objective", 200, "ms, for goodput", type=float)
    option("give-up", 10, "seconds without any connection after which the run ends", type=float)
    option("own-service", "", "a data folder: a service is started with its settings and models")
    option("report", "loadtests/results/loadtest.html", "a page of plots; empty: none")
    option("requests-file", "loadtests/results/requests.jsonl", "a line a request")


class Shape(LoadTestShape):
    """The number of users that ``--shape`` wants now."""

    abstract = True  # or locust would take it for the only shape there is
    use_common_options = True

    def __init__(self, environment: Environment) -> None:
        super().__init__()
        self._environment = environment

    def tick(self) -> tuple[int, float] | None:
        options = self._environment.parsed_options
        duration, peak = options.run_time or RUN_SECONDS, options.num_users or 1
        users = users_at(options.shape, self.get_run_time(), duration, peak)
        return None if users is None else (users, peak)


@events.init.add_listener
def prepare(environment: Environment, **_: object) -> None:
    options = environment.parsed_options
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for every request
    if options.rate <= 0:
        sys.exit("--rate must be above 0")
    run.objective = Objective(options.ttft_objective / 1000, options.itl_objective / 1000)
    if isinstance(environment.runner, WorkerRunner):
        run.unsent = []
    else:
        run.results = Results(Path(options.requests_file))
        run.report = Path(options.report) if options.report else None
        if options.own_service:
            _start_service(environment, Home(Path(options.own_service).expanduser()))
    if options.shape != "steady" and not isinstance(environment.runner, WorkerRunner):
        environment.shape_class = Shape(environment)
        environment.shape_class.runner = environment.runner
    if options.headless and not isinstance(environment.runner, WorkerRunner):
        try:
            models(environment)
        except (ArgumentTypeError, ValueError, Unreachable) as error:
            sys.exit(f"{error}")


def _start_service(environment: Environment, home: Home) -> None:
    """On a free port. It is stopped however this process ends."""
    atexit.register(_stop_service)
    logs = Path(environment.parsed_options.requests_file).parent
    run.service = OwnService(home.root, logs)
    try:
        run.service.wait_until_ready()
    except DidNotStart as error:
        sys.exit(f"{error}")
    environment.host = run.service.url


def _stop_service() -> None:
    if run.service is not None:
        run.service.stop()
        run.service = None


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    run.unreachable_since = None
    run.results.records.clear()
    run.samples.clear()
    if not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(watch, environment)


def watch(environment: Environment) -> None:
    """Ask the service for its queue and memory, each second until the run ends."""
    url = f"{base_address(environment.host or HOST)}/metrics"
    with httpx2.Client(trust_env=False, timeout=5) as client:
        while environment.runner.state not in ("stopped", "cleanup"):
            with suppress(httpx2.HTTPError):
                answer = client.get(url)
                found = sample(answer.text, time.time()) if answer.is_success else None
                if found is None:
                    return  # another server
                run.samples.append(found)
            gevent.sleep(SAMPLE_SECONDS)


def models(environment: Environment) -> Models:
    """What the server is to be asked for: from options, else from its own list.

    Users ask here when they start, because the web UI may have changed the address.
    """
    options, host = environment.parsed_options, loopback(environment.host or HOST)
    with run.asking:
        if host not in run.models:
            run.models[host] = _choose(
                host, options.model, options.embedding_model, options.api_key
            )
            print(f"{host}: chats with {run.models[host].chat or 'nothing'}", flush=True)
    return run.models[host]


def _choose(host: str, chat: str, embedding: str, api_key: str) -> Models:
    if chat and embedding:
        return Models(chat, embedding)
    client = HttpClient(host, lambda record: None, api_key=api_key)
    try:
        listed = client.models()
    except Unreachable:
        if not chat:
            raise
        listed = []
    finally:
        client.close()
    found = choose_models(listed, chat, embedding)
    if not found.chat and not found.embedding:
        raise ValueError(f"{host} lists no model: install one, or give --model")
    return found


@events.report_to_master.add_listener
def send_records(data: dict[str, Any], **_: object) -> None:
    data["records"] = [each.as_json() for each in run.unsent or ()]
    run.unsent = []


@events.worker_report.add_listener
def take_records(data: dict[str, Any], **_: object) -> None:
    for record in data.get("records", ()):
        run.results.add(Record.from_json(record))


@events.quitting.add_listener
def judge(environment: Environment, **_: object) -> None:
    """A run in which no request was made is no success. What it was goes into the report."""
    run.about = [_load_of(environment), _machine()]
    if run.unsent is None and environment.parsed_options.headless and not run.results.records:
        print("No request was made: no chosen scenario had a model, or the run was too short")
        environment.process_exit_code = environment.process_exit_code or 1


def _load_of(environment: Environment) -> str:
    options = environment.parsed_options
    scenarios = ", ".join(each.__name__ for each in environment.user_classes)
    models = sorted(
        {name for each in run.models.values() for name in (each.chat, each.embedding)} - {""}
    )
    rate = f", {options.rate:g} requests/s of each" if options.arrivals == "poisson" else ""
    return (
        f"Models: {', '.join(models) or 'none'}. Scenarios: {scenarios}. Users: up to "
        f"{options.num_users}, shape {options.shape}, arrivals {options.arrivals}{rate}."
    )


def _machine() -> str:
    facts = machine.describe()
    shown = ("processor", "instructions", "cores", "memory", "cupola", "onnxruntime")
    return ", ".join(f"{key} {facts[key]}" for key in shown) + "."


@events.quit.add_listener
def finish(**_: object) -> None:
    run.results.close()
    _stop_service()
    if run.unsent is None and run.report is not None:
        run.report.parent.mkdir(parents=True, exist_ok=True)
        page = run_page(run.results.records, run.samples, run.objective, run.about)
        run.report.write_text(page, encoding="utf-8")
        print(f"Plots: {run.report}")
    if run.unsent is None:
        print(f"\n{table(run.results.records, run.objective)}\n", flush=True)
