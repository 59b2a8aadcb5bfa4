"""A request or a model that ends workers costs its neighbours nothing but time."""

from __future__ import annotations

import itertools

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.core import Scheduler
from cupola.scheduler.protocol.messages import (
    Done,
    ErrorCode,
    Goodbye,
    Heartbeat,
    LoadModel,
    Outputs,
    Query,
    Ready,
    Rejected,
    Rejoin,
    Submit,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.scheduler.state.policy import SchedulerPolicy
from cupola.scheduler.state.records import Send

CPU = ExecutionProvider.CPU
MODEL = LocalModel("m:1", "/m", CPU)
FATAL = LocalModel("fatal:1", "/fatal", CPU)


def submit(request_id: str, model: LocalModel = MODEL) -> Submit:
    """Requests whose ids begin alike have the same content."""
    return Submit(request_id, model, encode_work(Work(Text(request_id.split("-")[0]))))


class Bench:
    """A scheduler with real decisions, and workers that die when they begin what is fatal.

    A worker is started again at once. It loads a model when a request needs it.
    """

    def __init__(self, workers: int = 1, slots: int = 8, fatal: str = "fatal") -> None:
        self.fatal = fatal
        self.slots = slots
        names = [f"cpu:0/{number}" for number in range(workers)]
        policy = SchedulerPolicy(dict.fromkeys(names, CPU))
        self.scheduler = Scheduler(policy, "epoch")
        self.lives = itertools.count()
        self.deaths = 0
        self.now = 0.0
        self.names: dict[bytes, str] = {}
        self.resident: dict[bytes, set[str]] = {}
        self.held: dict[bytes, list[Submit | LoadModel]] = {}  # by worker: what it has not begun
        self.ends: dict[str, Outputs | Rejected | Done] = {}
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        peer = f"{name}-{next(self.lives)}".encode()
        self.names[peer], self.resident[peer], self.held[peer] = name, {MODEL.id}, []
        self.take(
            self.scheduler.receive(peer, Ready(name, CPU, 1, self.slots, (MODEL.id,)), self.now)
        )

    def take(self, sends: list[Send]) -> None:
        for peer, message in sends:
            if isinstance(message, Submit | LoadModel):
                self.held[peer].append(message)
            elif isinstance(message, Rejected | Done):
                assert message.request_id not in self.ends
                self.ends[message.request_id] = message
            elif isinstance(message, Outputs):
                for output in message.outputs:
                    if output.last:
                        self.ends[output.request_id] = message

    def send(self, *messages: Submit | LoadModel) -> None:
        for message in messages:
            self.take(self.scheduler.receive(b"g", message, self.now))

    def work(self) -> None:
        """Each worker begins what it has, all of it at once, until nothing is left."""
        while busy := [peer for peer, held in self.held.items() if held]:
            for peer in busy:
                self.begin(peer)

    def begin(self, peer: bytes) -> None:
        self.now += 1.0
        held, self.held[peer] = self.held[peer], []
        if any(m.model.id not in self.resident[peer] and m.model == FATAL for m in held) or any(
            m.request_id.startswith(self.fatal) for m in held if m.model != FATAL
        ):
            self.die(peer)
            return
        for message in held:
            last = Output(message.request_id, "x", FinishReason.STOP, Usage(1, 1))
            answer = (
                Done(message.request_id) if isinstance(message, LoadModel) else Outputs((last,))
            )
            self.take(self.scheduler.receive(peer, answer, self.now))

    def die(self, peer: bytes) -> None:
        self.deaths += 1
        name = self.names[peer]
        self.held.pop(peer)
        self.take(self.scheduler.process_ended(name, self.now))
        self.start(name)

    def answered(self, request_id: str) -> bool:
        return isinstance(self.ends[request_id], Outputs | Done)

    def code(self, request_id: str) -> ErrorCode:
        end = self.ends[request_id]
        assert isinstance(end, Rejected)
        return end.code


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("place", [0, 3, 7, 11])
def test_the_guilty_is_found_and_all_others_are_answered(workers: int, place: int) -> None:
    bench = Bench(workers)
    names = [f"innocent{number}" for number in range(12)]
    names.insert(place, "fatal")
    bench.send(*map(submit, names))
    bench.work()
    assert bench.code("fatal") is ErrorCode.QUARANTINED
    assert all(bench.answered(name) for name in names if name != "fatal")
    assert bench.deaths == 3
    assert not bench.scheduler.requests


@pytest.mark.parametrize("guilty", [2, 3])
def test_several_guilty_ones_are_all_found(guilty: int) -> None:
    bench = Bench(2)
    fatal = [f"fatal{number}" for number in range(guilty)]
    innocent = [f"innocent{number}" for number in range(9)]
    bench.send(*map(submit, [*innocent[:5], *fatal, *innocent[5:]]))
    bench.work()
    assert all(bench.code(name) is ErrorCode.QUARANTINED for name in fatal)
    assert all(bench.answered(name) for name in innocent)


def test_the_guilty_one_is_refused_at_once_when_it_comes_again_and_not_for_ever() -> None:
    bench = Bench()
    bench.send(submit("fatal-1"))
    bench.work()
    assert bench.deaths == 2
    bench.send(submit("fatal-2"))
    assert bench.code("fatal-2") is ErrorCode.QUARANTINED
    bench.now += 3600.0
    bench.send(submit("fatal-3"))
    assert "fatal-3" in bench.scheduler.requests


def test_those_who_sent_the_same_wait_no_longer() -> None:
    bench = Bench()
    bench.send(submit("fatal-1"), submit("fatal-2"), submit("innocent"))
    bench.work()
    assert bench.deaths == 3
    assert bench.code("fatal-1") is bench.code("fatal-2") is ErrorCode.QUARANTINED
    assert bench.answered("innocent")


def test_suspects_run_one_at_a_time_and_output_acquits() -> None:
    bench = Bench()
    bench.send(submit("a"), submit("b"), submit("c"))
    bench.die(*bench.held)
    bench.send(submit("new"))
    (peer,) = bench.held
    assert [message.request_id for message in bench.held[peer]] == ["a"]
    bench.take(bench.scheduler.receive(peer, Outputs((Output("a", "x"),)), bench.now))
    # The next suspect needs a worker that runs nothing, and those behind it do not pass.
    assert [message.request_id for message in bench.held[peer]] == ["a"]
    bench.work()
    assert all(bench.answered(name) for name in ("a", "b", "c", "new"))


def test_others_use_the_workers_that_no_suspect_needs() -> None:
    bench = Bench(workers=2, slots=2)
    bench.send(submit("a"), submit("b"), submit("c"), submit("d"))
    first, second = bench.held
    bench.die(first)
    ran_there = {message.request_id for message in bench.held[second]}
    bench.take(bench.scheduler.receive(second, Outputs((Output(min(ran_there), "x"),)), 0))
    (ward,) = bench.held.keys() - {second}
    assert len(bench.held[ward]) == 1
    last = Output(max(ran_there), "x", FinishReason.STOP, Usage(1, 1))
    bench.take(bench.scheduler.receive(second, Outputs((last,)), 0))
    bench.send(submit("new"))
    assert bench.held[second][-1].request_id == "new"


def test_what_has_begun_to_answer_ends_at_once_and_never_runs_again() -> None:
    bench = Bench()
    bench.send(submit("begun"), submit("fresh"))
    (peer,) = bench.held
    bench.take(bench.scheduler.receive(peer, Outputs((Output("begun", "x"),)), 0))
    bench.die(peer)
    assert bench.code("begun") is ErrorCode.WORKER_LOST
    bench.work()
    assert bench.answered("fresh")


def test_one_that_ends_workers_while_it_answers_is_found_if_it_ran_alone() -> None:
    bench = Bench()
    for number in range(2):
        bench.send(submit(f"late-{number}"))
        (peer,) = bench.held
        bench.take(bench.scheduler.receive(peer, Outputs((Output(f"late-{number}", "x"),)), 0))
        bench.die(peer)
        assert bench.code(f"late-{number}") is ErrorCode.WORKER_LOST
    bench.send(submit("late-2"))
    assert bench.code("late-2") is ErrorCode.QUARANTINED


def test_a_goodbye_accuses_nobody() -> None:
    bench = Bench()
    bench.send(submit("a"), submit("b"))
    (peer,) = bench.held
    bench.take(bench.scheduler.receive(peer, Goodbye(), 0))
    del bench.held[peer]
    bench.start("cpu:0/0")
    (peer,) = bench.held
    assert len(bench.held[peer]) == 2


LEASE = SchedulerPolicy({}).lease


def falls_silent(bench: Bench) -> bytes:
    """The only worker, after its lease has ended."""
    (peer,) = bench.held
    bench.now += LEASE
    bench.take(bench.scheduler.receive(b"g", Query(), bench.now))
    bench.take(bench.scheduler.tick(bench.now))
    assert not bench.scheduler.workers
    bench.held[peer].clear()
    return peer


def test_a_worker_that_comes_back_from_a_long_step_accuses_nobody() -> None:
    bench = Bench()
    bench.send(submit("a"), submit("b"))
    for _ in range(2):
        peer = falls_silent(bench)
        back = Ready("cpu:0/0", CPU, 1, 8, (MODEL.id,))
        bench.take(bench.scheduler.receive(peer, back, bench.now))
        assert [message.request_id for message in bench.held[peer]] == ["a", "b"]
    bench.work()
    assert bench.answered("a") and bench.answered("b")


def test_a_request_that_hangs_its_worker_is_found_once_that_is_killed() -> None:
    bench = Bench()
    bench.send(submit("hangs"))
    for _ in range(2):
        assert "hangs" in bench.scheduler.requests
        bench.die(falls_silent(bench))
    assert bench.code("hangs") is ErrorCode.QUARANTINED


def test_a_new_process_shows_the_end_of_the_silent_one() -> None:
    bench = Bench()
    bench.send(submit("a"), submit("b"))
    del bench.held[falls_silent(bench)]
    bench.start("cpu:0/0")  # the scheduler was not told of the death
    (peer,) = bench.held
    assert [message.request_id for message in bench.held[peer]] == ["a"]


# -- models ----------------------------------------------------------------------------------------


def test_a_model_that_ends_workers_is_left_alone_and_the_others_are_answered() -> None:
    bench = Bench(workers=2)
    innocent = [f"innocent{number}" for number in range(8)]
    bench.send(*map(submit, innocent[:4]))
    bench.send(submit("r1", FATAL), LoadModel("r2", FATAL), submit("r3", FATAL))
    bench.send(*map(submit, innocent[4:]))
    bench.work()
    assert all(bench.answered(name) for name in innocent)
    for name in ("r1", "r2", "r3"):
        assert bench.code(name) is ErrorCode.MODEL_LOAD_FAILED
    assert bench.deaths <= 4  # two workers may load it at once the first time
    (reason,) = bench.scheduler.status(bench.now).refused.values()
    assert "ended its worker" in reason
    bench.send(LoadModel("r4", FATAL))
    end = bench.ends["r4"]
    assert isinstance(end, Rejected) and "ended its worker" in end.message


def test_the_load_of_a_suspect_model_is_apart_and_its_requests_wait_together() -> None:
    bench = Bench()
    bench.send(submit("r1", FATAL), submit("r2", FATAL))
    bench.die(*bench.held)
    bench.send(submit("new"))
    (peer,) = bench.held
    assert [message.request_id for message in bench.held[peer]] == ["r1", "r2"]
    # It can be loaded this time: nothing is suspect any more.
    bench.take(bench.scheduler.receive(peer, Heartbeat(0, (MODEL.id, FATAL.id)), 0))
    assert [message.request_id for message in bench.held[peer]] == ["r1", "r2", "new"]


def load_fails(bench: Bench, request_ids: list[str]) -> None:
    """A worker says to each of the requests that the load has failed."""
    (peer,) = bench.held
    bench.held[peer].clear()
    for request_id in request_ids:
        failed = Rejected(request_id, ErrorCode.MODEL_LOAD_FAILED, "the file is cut off")
        bench.take(bench.scheduler.receive(peer, failed, bench.now))


@pytest.mark.parametrize("waiting", [1, 3])
def test_a_load_that_fails_counts_once_however_many_wait_for_it(waiting: int) -> None:
    bench = Bench()
    for attempt in range(3):
        assert bench.scheduler.status(bench.now).refused == {}
        ids = [f"r{attempt}{number}" for number in range(waiting)]
        bench.send(*(submit(name, FATAL) for name in ids))
        load_fails(bench, ids)
    assert "cut off" in bench.scheduler.status(bench.now).refused[FATAL.id]
    bench.send(submit("again", FATAL))
    assert bench.code("again") is ErrorCode.MODEL_LOAD_FAILED


def test_a_forced_unload_is_a_new_beginning() -> None:
    bench = Bench()
    for attempt in range(3):
        bench.send(submit(f"r{attempt}", FATAL))
        load_fails(bench, [f"r{attempt}"])
    for force, refused in ((False, 1), (True, 0)):
        bench.take(bench.scheduler.receive(b"g", UnloadModel(f"u{force}", FATAL.id, force), 0))
        assert len(bench.scheduler.status(bench.now).refused) == refused


def test_a_worker_that_died_of_its_first_load_says_so() -> None:
    bench = Bench()
    ready = Ready("cpu:0/0", CPU, 1, 8, fatal=(FATAL.id,))
    bench.scheduler.receive(b"w", ready, 0)
    assert list(bench.scheduler.status(0).refused) == [FATAL.id]


@pytest.mark.parametrize("heartbeats", range(1, 6))
@pytest.mark.parametrize("lives", range(1, 5))
def test_a_worker_that_comes_back_late_is_no_death(heartbeats: int, lives: int) -> None:
    """A stopped machine delivers several heartbeats at once: each is answered with Rejoin."""
    bench = Bench()
    [peer] = bench.names
    ready = Ready("cpu:0/0", CPU, 1, 8, (MODEL.id,))
    beat = Heartbeat(resident=(MODEL.id,))
    for life in range(lives):
        innocent = f"innocent-{life}"
        bench.send(submit(innocent))
        bench.now += 100.0
        bench.take(bench.scheduler.receive(b"g", Query(), bench.now))
        bench.take(bench.scheduler.tick(bench.now))
        asked = [bench.scheduler.receive(peer, beat, bench.now) for _ in range(heartbeats)]
        bench.held[peer].clear()  # the worker forgets, and answers each time
        for sends in asked:
            assert [send.message for send in sends] == [Rejoin()]
            bench.take(bench.scheduler.receive(peer, ready, bench.now))
        assert [message.request_id for message in bench.held[peer]] == [innocent]
        bench.work()
        assert bench.answered(innocent)
