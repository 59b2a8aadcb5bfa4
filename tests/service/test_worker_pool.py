"""The workers that should run, as operators change them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.pool import MAX_WORKERS, Presence, Then
from cupola.service.processes.worker_pool import PoolError, WorkerPool

CPU, CUDA = ExecutionProvider.CPU, ExecutionProvider.CUDA
A, B = "cpu:0/0", "cpu:0/1"


def pool_of_two() -> WorkerPool:
    return WorkerPool({A: CPU, B: CPU})


def presences(pool: WorkerPool) -> dict[str, Presence]:
    return {member.name: member.presence for member in pool.members}


@pytest.mark.parametrize(
    ("then", "left"),
    [
        (Then.DRAIN, {A: Presence.STOPPED, B: Presence.SERVING}),
        (Then.RESTART, {A: Presence.SERVING, B: Presence.SERVING}),
        (Then.REMOVE, {B: Presence.SERVING}),
    ],
)
def test_a_worker_leaves(then: Then, left: dict[str, Presence]) -> None:
    pool = pool_of_two()
    pool.leave(A, then)
    assert presences(pool) == {A: Presence.LEAVING, B: Presence.SERVING}
    assert pool.leaves(A)
    pool.ended(A)
    assert presences(pool) == left


def test_the_last_wish_counts() -> None:
    pool = pool_of_two()
    pool.leave(A, Then.REMOVE)
    pool.leave(A, Then.RESTART)
    pool.ended(A)
    assert pool.serves(A)


def test_a_stopped_worker_is_started_or_forgotten() -> None:
    pool = pool_of_two()
    pool.leave(A, Then.DRAIN)
    pool.ended(A)
    pool.leave(A, Then.DRAIN)
    assert presences(pool)[A] is Presence.STOPPED
    pool.leave(A, Then.RESTART)
    assert pool.serves(A)
    pool.leave(A, Then.DRAIN)
    pool.ended(A)
    pool.leave(A, Then.REMOVE)
    assert A not in pool


def test_names_are_used_again_and_there_are_not_too_many() -> None:
    pool = WorkerPool({A: CPU, "cuda:0/0": CUDA})
    assert pool.add("cpu:0", CPU) == B
    pool.leave(A, Then.REMOVE)
    pool.ended(A)
    assert pool.add("cpu:0", CPU) == A
    for _ in range(MAX_WORKERS - 3):
        pool.add("cpu:0", CPU)
    with pytest.raises(PoolError, match="64 workers"):
        pool.add("cpu:0", CPU)


@pytest.mark.parametrize("then", [Then.DRAIN, Then.REMOVE])
def test_the_last_worker_of_a_provider_stays(then: Then) -> None:
    pool = WorkerPool({A: CPU, "cuda:0/0": CUDA})
    with pytest.raises(PoolError, match="the only worker that runs CPUExecutionProvider"):
        pool.leave(A, then)
    pool.leave(A, Then.RESTART)
    with pytest.raises(PoolError, match="no worker cpu:0/9"):
        pool.leave("cpu:0/9", then)


@given(
    changes=st.lists(
        st.one_of(
            st.just("add"),
            st.tuples(st.sampled_from([A, B, "cpu:0/2"]), st.sampled_from(Then)),
            st.sampled_from([A, B, "cpu:0/2"]),
        )
    )
)
def test_whatever_is_done_a_worker_serves_or_will(
    changes: list[str | tuple[str, Then]],
) -> None:
    pool = pool_of_two()
    for change in changes:
        try:
            if change == "add":
                pool.add("cpu:0", CPU)
            elif isinstance(change, tuple):
                pool.leave(*change)
            elif pool.leaves(change):
                pool.ended(change)
        except PoolError:
            continue
    for name in [name for name in presences(pool) if pool.leaves(name)]:
        pool.ended(name)
    assert Presence.SERVING in presences(pool).values()
