"""Who waits and who has a slot, over rows that hold nothing."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.messages import ErrorCode, Turn
from cupola.scheduler.waiting.token_counters import TokenCounters
from cupola.workers.engine.recovery import MAX_UNEXPLAINED
from cupola.workers.engine.sequence import Job, Sequence
from cupola.workers.engine.sequences import Sequences
from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.kv.kv_store import KVStore
from cupola.workers.model.backend import RequestError
from cupola.workers.planning.plan import Step

SLOTS = 3


class Rows(KVStore):
    bytes_per_token = 1

    def forget(self, row: int) -> None:
        return


class Refused(Sequence):
    @property
    def refusal(self) -> RequestError:
        return RequestError(ErrorCode.INVALID_REQUEST, "its grammar is wrong")


class Postponed(Sequence):
    @property
    def admissible(self) -> bool:
        return False


class Bench:
    def __init__(self, positions: int = 10**6, spare: int = 0, short_context: int = 0) -> None:
        self.slots = SlotAllocator(Rows(), SLOTS, positions)
        self.all = Sequences(self.slots, TokenCounters(), spare, short_context)
        self._texts = count(1)

    def add(
        self,
        name: str,
        client: str = "a",
        tokens: int = 5,
        answers: int = 1,
        kind: type[Sequence] = Sequence,
    ) -> list[Sequence]:
        """A request whose prompt begins as no other."""
        text = next(self._texts)
        job = Job(name, tokens, open=answers, turn=Turn(client))
        sequences = [
            kind(job=job, index=index, tokens=[text] * tokens, max_tokens=0)
            for index in range(answers)
        ]
        self.all.add(sequences)
        return sequences

    def one(self, name: str, client: str = "a", tokens: int = 5) -> Sequence:
        (sequence,) = self.add(name, client, tokens)
        return sequence

    @property
    def running(self) -> list[str]:
        return [sequence.job.request_id for sequence in self.all.running]

    @property
    def waiting(self) -> list[str]:
        return [sequence.job.request_id for sequence in self.all.waiting.in_order()]


def test_those_that_came_first_run_first() -> None:
    bench = Bench()
    for name in "pqrst":
        bench.add(name)
    assert bench.all.give_slots() == []
    assert (bench.running, bench.waiting) == (["p", "q", "r"], ["s", "t"])
    bench.all.finish(bench.all.running[1])
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["p", "r", "s"], ["t"])


def test_the_spare_slots_are_for_clients_that_run_nothing() -> None:
    bench = Bench(spare=1)
    for name in "pqr":
        bench.add(name, "a")
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["p", "q"], ["r"])
    bench.add("s", "b")
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["p", "q", "s"], ["r"])
    bench.all.finish(bench.all.running[0])
    bench.all.give_slots()
    assert bench.running == ["q", "s"], "the free slot is the spare one again"


def test_without_memory_for_one_all_behind_it_wait_as_well() -> None:
    bench = Bench(positions=100)
    first = bench.one("p", tokens=50)
    bench.add("large", tokens=60)
    for name in ("small", "tiny"):
        bench.add(name, tokens=10)
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["p"], ["large", "small", "tiny"])
    bench.all.finish(first)
    bench.all.give_slots()
    assert bench.running == ["large", "small", "tiny"]


def test_a_request_that_is_refused_ends_with_all_its_answers_and_holds_nobody_up() -> None:
    bench = Bench()
    bench.add("bad", answers=2, kind=Refused)
    bench.add("good")
    (rejected,) = bench.all.give_slots()
    assert (rejected.request_id, rejected.code) == ("bad", ErrorCode.INVALID_REQUEST)
    assert (bench.running, bench.waiting) == (["good"], [])


def test_what_cannot_start_yet_takes_nobodys_place() -> None:
    bench = Bench()
    bench.add("later", kind=Postponed)
    assert not bench.all.busy
    bench.add("now")
    assert bench.all.busy
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["now"], ["later"])
    assert bench.all.postponed == {"later"}


def test_what_is_preempted_is_the_first_to_run_again_and_keeps_no_memory() -> None:
    bench = Bench()
    for name in "pqrs":
        bench.add(name)
    bench.all.give_slots()
    youngest = bench.all.running[-1]
    bench.slots.record_run(Step(youngest, 4))
    assert bench.slots.committed > 0
    bench.all.preempt(youngest)
    assert bench.slots.committed == 0
    assert (bench.running, bench.waiting) == (["p", "q"], ["r", "s"])


def test_a_request_that_ends_early_takes_all_its_answers_along() -> None:
    bench = Bench()
    first, second = bench.add("two", answers=2)
    for name in "pq":
        bench.add(name)
    bench.all.give_slots()
    assert bench.waiting == ["two"], "it waits for what the first one reads"
    assert bench.all.remove("two") == ([first], [second])
    assert bench.all.remove("unknown") == ([], [])
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["p", "q"], [])


def test_what_outgrows_the_first_rotary_table_starts_again_with_the_second() -> None:
    bench = Bench(short_context=8)
    grown, long, short = bench.one("p", tokens=7), bench.one("q", tokens=9), bench.one("r")
    assert [each.long for each in (grown, long, short)] == [False, True, False]
    bench.all.give_slots()
    grown.tokens += [1, 1]
    bench.all.use_long_table()
    assert (bench.running, bench.waiting) == (["q", "r"], ["p"])
    assert [each.long for each in (grown, long, short)] == [True, True, False]
    assert grown.salt == long.salt != short.salt


def test_after_a_run_that_failed_they_run_alone_until_each_is_past_it() -> None:
    bench = Bench()
    old, young = bench.one("old"), bench.one("young")
    bench.all.give_slots()
    assert bench.all.run_failed({old: 1, young: 3}) is None
    assert bench.running == []
    bench.all.give_slots()
    assert bench.running == ["young"]
    bench.slots.record_run(Step(young, 2))
    bench.all.run_worked()
    assert bench.running == ["young"], "it was to run three tokens"
    bench.slots.record_run(Step(young, 1))
    bench.all.run_worked()
    bench.all.give_slots()
    assert (bench.running, bench.waiting) == (["old"], ["young"])
    assert bench.all.run_failed({old: 1}) is old
    bench.all.remove("old")
    bench.all.give_slots()
    assert bench.running == ["young"] and not bench.all.hopeless


def test_runs_that_fail_though_each_passes_alone_are_hopeless() -> None:
    bench = Bench()
    for name in "pq":
        bench.add(name, tokens=20)
    for _ in range(MAX_UNEXPLAINED + 1):
        assert not bench.all.hopeless
        bench.all.give_slots()
        bench.all.run_failed({})
        for _ in "pq":
            bench.all.give_slots()
            for sequence in bench.all.running:
                bench.slots.record_run(Step(sequence, 1))
            bench.all.run_worked()
    assert bench.all.hopeless


def test_the_usage_is_the_share_of_the_memory() -> None:
    bench = Bench(positions=10)
    bench.add("p", tokens=8)
    assert bench.all.usage == 0
    bench.all.give_slots()
    bench.slots.record_run(Step(bench.all.running[0], 5))
    assert bench.all.usage == 0.5


@given(st.lists(st.tuples(st.sampled_from("agfpr"), st.integers(0, 9)), max_size=40))
def test_any_order_of_events(events: list[tuple[str, int]]) -> None:
    """Each sequence is in one place, and a slot is held by one."""
    bench = Bench(spare=1)
    added = 0
    for event, number in events:
        running = bench.all.running
        chosen = running[number % len(running)] if running else None
        match event:
            case "a":
                added += 1
                bench.add(str(added), client=str(number % 2), answers=1 + number % 3)
            case "g":
                bench.all.give_slots()
                assert bench.slots.free == SLOTS - len(running)
            case "f" if chosen is not None:
                chosen.job.open -= 1
                bench.all.finish(chosen)
            case "p" if chosen is not None:
                bench.all.preempt(chosen)
            case "r":
                bench.all.remove(str(number))
        assert list(bench.all.violations()) == []
