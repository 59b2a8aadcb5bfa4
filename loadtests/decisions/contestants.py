"""The servers that are asked, and how each of them is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from cupola.loadtests.host.own_service import OwnService, borrowed_home
from cupola.loadtests.host.peers import SLOTS, Peer, folder
from cupola.loadtests.overhead.processes import Processes
from cupola.scheduler.protocol.tasks import Option, Question, QuestionKind
from cupola.workers.decisions.wording import NO, YES, worded

ALL_SLOTS = SLOTS
_PATIENCE = 600
_IDLE = 0.05  # seconds of a processor in one second, of a server that has nothing to do
_MOST_IDLE_WAIT = 60


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running server. ``processes``: all of its own."""

    name: str
    url: str
    processes: Processes

    def client(self) -> httpx2.Client:
        limits = httpx2.Limits(max_connections=None)
        return httpx2.Client(base_url=self.url, timeout=_PATIENCE, trust_env=False, limits=limits)

    def cpu_seconds(self) -> float:
        """The processor time until now."""
        return sum(self.processes.seconds().values())

    def wait_until_idle(self) -> None:
        """What it prepares for its first requests would take a processor from the others."""
        ends, before = time.monotonic() + _MOST_IDLE_WAIT, 0.0
        while (now := self.cpu_seconds()) - before > _IDLE and time.monotonic() < ends:
            before = now
            time.sleep(1)


@dataclass(frozen=True, slots=True)
class Cupola(Contestant):
    """Cupola's service."""

    model: str

    def ask(self, http: httpx2.Client, state: str, asked: list[str]) -> None:
        """All questions in one request."""
        questions = [{"type": "predicate", "instructions": text} for text in asked]
        body = {"model": self.model, "input": state, "questions": questions}
        answers = http.post("/v1/decisions", json=body).raise_for_status().json()["answers"]
        assert len(answers) == len(asked)


@dataclass(frozen=True, slots=True)
class Llama(Contestant):
    """A llama-server.

    ``at_once``: so many calls of a client. 1: then a slot has the state for the next call.
    """

    at_once: int = 1

    def ask(self, http: httpx2.Client, state: str, asked: list[str]) -> None:
        """A call for each question: one token with its log-probabilities, of the same words."""
        if self.at_once == 1:
            for text in asked:
                self._ask(http, state, text)
            return
        with ThreadPoolExecutor(self.at_once) as threads:
            list(threads.map(lambda text: self._ask(http, state, text), asked))

    @staticmethod
    def _ask(http: httpx2.Client, state: str, text: str) -> None:
        question = Question(QuestionKind.PREDICATE, text)
        told = worded(question, (Option(YES), Option(NO)), None)
        body = {
            "messages": [{"role": "user", "content": f"{state}\n\n{told}"}],
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 20,
            "cache_prompt": True,
        }
        answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
        assert answer["choices"][0]["logprobs"]["content"]


@contextmanager
def cupola(home: Path, logs: Path, model: str) -> Iterator[Cupola]:
    """A service with the models of a data folder. Raises DidNotStart."""
    own = borrowed_home(home, logs)
    with OwnService(own, logs, {"model": model}) as service:
        service.wait_until_ready()
        made = Cupola("Cupola", service.url, Processes.of(service.url), model)
        made.wait_until_idle()
        yield made


@contextmanager
def llama(*more: str, name: str = "llama-server") -> Iterator[Llama]:
    """A llama-server with 16 slots. ``more``: of its options. Raises DidNotStart."""
    with ExitStack() as stack:
        peer = Peer("llama-q8_0", folder(), more)
        stack.callback(peer.stop)
        peer.wait_until_ready()
        yield Llama(name, peer.url, Processes({name: peer.process_id}))
