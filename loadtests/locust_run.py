"""A run of locust: its options, the models of its server, its load shape, and its records.

Locust calls the listeners here at each event of a run, once this module is imported.
"""

from __future__ import annotations

import logging
import re
import sys
from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from http_client import HttpClient, Unreachable, loopback
from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner
from results import Objective, Record, Results, table
from shapes import SHAPES, users_at

HOST = "http://127.0.0.1:5273"
RUN_SECONDS = 120
EMBEDDER = re.compile(r"embed|minilm|bge-|e5-|gte-", re.IGNORECASE)


@dataclass
class Run:
    """What all users of this process share."""

    results: Results
    objective: Objective
    chat_model: str = ""
    embedding_model: str = ""
    unreachable_since: float | None = None
    users: int = 0  # that have been started
    unsent: list[Record] | None = None  # of a process whose master collects the records


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
    if options.shape != "steady" and not isinstance(environment.runner, WorkerRunner):
        environment.shape_class = Shape(environment)
        environment.shape_class.runner = environment.runner
    if options.headless:
        try:
            find_models(environment)
        except (ArgumentTypeError, ValueError, Unreachable) as error:
            sys.exit(f"{error}")


@events.test_start.add_listener
def begin(environment: Environment, **_: object) -> None:
    run.unreachable_since = None
    run.results.records.clear()
    if not environment.parsed_options.headless:  # the address comes from the web UI
        try:
            find_models(environment)
        except (ArgumentTypeError, ValueError, Unreachable) as error:
            run.chat_model = run.embedding_model = ""
            print(error, file=sys.stderr)


def find_models(environment: Environment) -> None:
    """Asks the server for its models where options do not name them."""
    options, host = environment.parsed_options, loopback(environment.host or HOST)
    run.chat_model, run.embedding_model = options.model, options.embedding_model
    client = HttpClient(host, lambda record: None, api_key=options.api_key)
    try:
        listed = [] if run.chat_model and run.embedding_model else client.models()
    except Unreachable:
        if not run.chat_model:
            raise
        listed = []
    finally:
        client.close()
    chats = [name for name in listed if not EMBEDDER.search(name)]
    run.chat_model = run.chat_model or next(iter(chats), "")
    embedders = [name for name in listed if EMBEDDER.search(name)]
    run.embedding_model = run.embedding_model or next(iter(embedders), "")
    if not run.chat_model and not run.embedding_model:
        raise ValueError(f"{host} lists no model: install one, or give --model")
    print(f"{host}: chats with {run.chat_model or 'nothing'}", flush=True)


@events.report_to_master.add_listener
def send_records(data: dict[str, Any], **_: object) -> None:
    data["records"] = [each.as_json() for each in run.unsent or ()]
    run.unsent = []


@events.worker_report.add_listener
def take_records(data: dict[str, Any], **_: object) -> None:
    for record in data.get("records", ()):
        run.results.add(Record.from_json(record))


@events.quit.add_listener
def finish(**_: object) -> None:
    run.results.close()
    if run.unsent is None:
        print(f"\n{table(run.results.records, run.objective)}\n", flush=True)
