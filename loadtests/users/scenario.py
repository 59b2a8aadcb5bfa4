"""What all locust users have in common: when they ask, and where their records go."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from random import Random
from typing import ClassVar

import gevent
from gevent.pool import Pool
from locust import User, task
from locust.exception import StopUser

from cupola.loadtests.load.results import End, Record
from cupola.loadtests.load.server import Models, Unreachable, base_address
from cupola.loadtests.load.workloads import Conversation, Workload
from cupola.loadtests.users.http_client import HttpClient
from cupola.loadtests.users.locust_run import HOST, models, run

MOST_OPEN = 200  # requests of a Poisson source at once; more wait, and their latency counts it
RETRY_SECONDS = 1.0


class Scenario(User):
    """A user that asks ``workload``, over and over."""

    abstract = True
    host = HOST
    workload: ClassVar[Workload]
    think_seconds = 0.1  # at most, between two requests of a closed loop
    slow = False
    api_key = ""

    def on_start(self) -> None:
        self.options = self.environment.parsed_options
        self.poisson = self.options.arrivals == "poisson"
        run.users += 1
        place = getattr(self.environment.runner, "worker_index", 0)
        self.chance = Random(f"{self.options.seed} {type(self).__name__} {place} {run.users}")
        try:
            self.model = self.choose_model(models(self.environment))
            told = f"{type(self).__name__}: the server lists no model for this"
        except (ArgumentTypeError, ValueError, Unreachable) as error:
            self.model, told = "", str(error)
        if not self.model:
            print(told, file=sys.stderr)
        self.http = HttpClient(
            base_address(self.environment.host or HOST),
            self.report,
            api_key=self.options.api_key or self.api_key,
            slow=self.slow,
        )
        self.open = Pool(MOST_OPEN)
        self.next = time.perf_counter()

    def choose_model(self, models: Models) -> str:
        return models.chat

    def on_stop(self) -> None:
        """Open requests may end for ``--stop-timeout`` seconds, as those of a closed loop may."""
        try:
            self.open.join(self.environment.stop_timeout)
        finally:
            self.open.kill()
            self.http.close()

    def wait_time(self) -> float:
        return 0.0 if self.poisson else self.chance.uniform(0, self.think_seconds)

    @task
    def arrive(self) -> None:
        if not self.model:
            raise StopUser
        if not self.poisson:
            self.attempt(None, self.chance)
            return
        self.next += self.chance.expovariate(self.options.rate)
        gevent.sleep(max(0.0, self.next - time.perf_counter()))
        # Its own generator: the order in which answers come changes nothing that is asked.
        self.open.spawn(self.attempt, self.next, Random(self.chance.random()))

    def attempt(self, began: float | None, chance: Random) -> None:
        """One arrival. Without a connection the run goes on for ``--give-up`` seconds."""
        try:
            self.act(began, chance)
        except Unreachable as error:
            now = time.perf_counter()
            run.unreachable_since = run.unreachable_since or now
            runner = self.environment.runner
            if now - run.unreachable_since >= self.options.give_up and runner.state != "stopped":
                print(f"The run ends early. {error}", file=sys.stderr)
                self.environment.process_exit_code = 1
                gevent.spawn(runner.quit)
            gevent.sleep(RETRY_SECONDS)
        else:
            run.unreachable_since = None

    def act(self, began: float | None, chance: Random) -> None:
        """A conversation. Its first request has an intended start; the others follow answers."""
        conversation = Conversation(self.workload, self.model, chance)
        while not conversation.over:
            reading = self.http.stream(
                self.workload.name,
                self.workload.path,
                conversation.body(),
                began=began,
                fault=self.workload.fault,
            )
            if reading is None:
                return
            conversation.answered(reading.text, reading.calls)
            began = None

    def report(self, record: Record) -> None:
        """Tells the results, and locust: what it has no row for would be lost in its plots."""
        if run.unsent is None:
            run.results.add(record)
        else:
            run.unsent.append(record)
        if record.end is End.INCOMPLETE:
            return
        if record.end is End.ABORTED:  # its times are the client's doing
            self.row("abort", record.name, record.e2e * 1000, record.tokens)
            return
        error = RuntimeError(record.error) if record.end is End.ERROR else None
        self.row("E2E", record.name, record.e2e * 1000, record.tokens, error)
        if record.ttft is not None:
            self.row("TTFT", record.name, record.ttft * 1000)
        for gap in record.pauses:
            self.row("ITL", record.name, gap * 1000)
        if record.tpot:
            self.row("TPOT", record.name, record.tpot * 1000)
            self.row("tokens/s", record.name, 1 / record.tpot)

    def row(
        self, kind: str, name: str, value: float, length: int = 0, error: Exception | None = None
    ) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=value,
            response_length=length,
            exception=error,
            context={},
        )
