"""Residency as a state machine: any order of loads, requests, unloads, failures and time."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.messages import (
    Abort,
    Done,
    FromWorker,
    Heartbeat,
    LoadModel,
    Outputs,
    Rejected,
    Submit,
    UnloadModel,
    encode_work,
)
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel, Text, Work
from cupola.workers.echo import FATAL, EchoBackend
from cupola.workers.residency import FOREVER, Residency
from cupola.workers.self_report import Identity
from cupola.workers.worker import Worker
from tests.examples import examples

CPU = ExecutionProvider.CPU
NAMES = ("a:1", "b:1", "pinned:1")
DEFAULT = 600.0
MODELS = {name: LocalModel(name, f"/{name}", CPU) for name in NAMES}
names = st.sampled_from(NAMES)
ttls = st.sampled_from([None, 0.0, 5.0, 50.0, FOREVER])


class ResidencyMachine(RuleBasedStateMachine):
    """A worker with the echo backend; the machine plays the loader, the scheduler and the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.count = 0
        self.loading: list[str] = []
        self.residency = Residency(DEFAULT, pinned=["pinned:1"])
        self.worker = Worker(Identity("cpu:0/0", CPU, 1, 4), self.residency, self._begin_load)
        self.open: dict[str, str] = {}  # requests that have not ended, and their models
        self.ends: Counter[str] = Counter()
        self.aborted: set[str] = set()
        self.used: dict[str, float] = {}  # when a model was last in use
        self.told: frozenset[str] = frozenset()  # what the scheduler takes for loaded

    def _begin_load(self, model: LocalModel) -> None:
        assert model.id not in self.loading, "loaded twice at once"
        self.loading.append(model.id)

    def _hear(self, messages: list[FromWorker]) -> None:
        for message in messages:
            match message:
                case Heartbeat(_, resident):
                    self.told = frozenset(resident)
                case Outputs(outputs):
                    for output in outputs:
                        self._output(output)
                case Done(request_id) | Rejected(request_id):
                    self._end(request_id)

    def _output(self, output: Output) -> None:
        assert output.request_id in self.open, "output of a request that has ended"
        self.used[self.open[output.request_id]] = self.now
        if output.last:
            self._end(output.request_id)

    def _end(self, request_id: str) -> None:
        assert request_id not in self.aborted, "an aborted request was answered"
        self.ends[request_id] += 1
        del self.open[request_id]

    def _new(self, name: str) -> str:
        self.count += 1
        request_id = f"r{self.count}"
        self.open[request_id] = name
        return request_id

    # -- what can happen ---------------------------------------------------------------------------

    @rule(name=names, ttl=ttls)
    def load(self, name: str, ttl: float | None) -> None:
        self.used[name] = self.now
        self._hear(self.worker.receive(LoadModel(self._new(name), MODELS[name], ttl), self.now))

    @rule(name=names, ttl=ttls, text=st.sampled_from(["one", "one two three", FATAL]))
    def generate(self, name: str, ttl: float | None, text: str) -> None:
        self.used[name] = self.now
        work = encode_work(Work(Text(text)))
        message = Submit(self._new(name), MODELS[name], work, ttl)
        self._hear(self.worker.receive(message, self.now))

    @rule(name=names, force=st.booleans())
    def unload(self, name: str, force: bool) -> None:
        before = self.residency.models.get(name)
        stays = before is not None and not force and (before.pinned or before.promised)
        request_id = self._new(name)
        self._hear(self.worker.receive(UnloadModel(request_id, name, force), self.now))
        if before is None or stays:
            assert self.ends[request_id] == 1
            assert (name in self.residency.models) is stays
        else:
            assert self.ends[request_id] == 0

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        unloads = {i for model in self.residency.models.values() for i in model.unloads}
        candidates = sorted(self.open.keys() - unloads)
        if not candidates:
            return
        request_id = data.draw(st.sampled_from(candidates))
        self.used[self.open.pop(request_id)] = self.now
        self.aborted.add(request_id)
        self._hear(self.worker.receive(Abort(request_id), self.now))

    @precondition(lambda self: self.loading)
    @rule(works=st.booleans())
    def loaded(self, works: bool) -> None:
        name = self.loading.pop(0)
        self.used[name] = self.now
        result = EchoBackend() if works else ValueError("the file is damaged")
        self._hear(self.worker.loaded(name, result, self.now))
        assert (name in self.told) is works

    @rule()
    def step(self) -> None:
        self._hear(self.worker.step(self.now))

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 60.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.worker.busy)
    @rule(seconds=st.sampled_from([0.0, 7.0, 70.0]))
    def work_long(self, seconds: float) -> None:
        """Everything that runs takes some time and comes to its end."""
        self.now += seconds
        while self.worker.busy:
            self.step()
        self.expire()

    @rule()
    def expire(self) -> None:
        before = dict(self.residency.models)
        told = {name: list(model.unloads) for name, model in before.items()}
        self._hear(self.worker.expire(self.now))
        for name, model in before.items():
            if self.residency.models.get(name) is model:
                continue
            assert not model.running, "unloaded while in use"
            assert model.backend is not None, "unloaded while loading"
            if not told[name]:
                assert name != "pinned:1"
                assert model.ttl != FOREVER
                assert self.used[name] + model.ttl <= self.now, "unloaded before its time"
            assert all(self.ends[request_id] == 1 for request_id in told[name])
        assert not self.residency.expired(self.now), "one call drops all whose time is over"

    # -- what always holds -------------------------------------------------------------------------

    @invariant()
    def every_request_ends_at_most_once(self) -> None:
        assert all(count == 1 for count in self.ends.values())

    @invariant()
    def every_open_request_is_somewhere(self) -> None:
        held = [
            request_id
            for model in self.residency.models.values()
            for request_id in (*model.request_ids, *model.unloads)
        ]
        assert sorted(held) == sorted(self.open)

    @invariant()
    def a_model_is_loading_or_loaded(self) -> None:
        assert set(self.residency.loading) == set(self.loading)
        assert not set(self.residency.loaded) & set(self.loading)

    @invariant()
    def the_deadline_is_when_something_expires(self) -> None:
        deadline = self.residency.next_deadline()
        by_time = [m for m in self.residency.models.values() if m.expires_at is not None]
        assert (deadline is None) is (not by_time)
        if deadline is not None:
            assert any(m.expires_at == deadline for m in by_time)
            assert any(m in by_time for m in self.residency.expired(deadline))

    def teardown(self) -> None:
        """Let everything come to its end."""
        for _ in range(1000):
            if not self.open:
                return
            while self.loading:
                self._hear(self.worker.loaded(self.loading.pop(0), EchoBackend(), self.now))
            self._hear(self.worker.step(self.now))
            self._hear(self.worker.expire(self.now))
        raise AssertionError(f"never ended: {self.open}")


TestResidency = ResidencyMachine.TestCase
TestResidency.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
