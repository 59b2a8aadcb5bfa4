"""When a child counts as hung. The times are made up; no process runs here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.commands import ALIVE, LONG_TURN
from cupola.service.composition import patience
from cupola.service.processes.watchdog import Patience, Watchdog

PATIENCE = Patience(silence=60.0, long_turn=600.0)


def hung_at(watchdog: Watchdog, begin: float, end: float) -> dict[str, float]:
    """When each child was found to hang, by a caller that looks as often as it is told to."""
    found: dict[str, float] = {}
    now = begin
    while now < end:
        for name, _ in watchdog.overdue(now):
            assert name not in found, "it was reported twice"
            found[name] = now
        now = min(watchdog.next_look(now), end)
    return found


@pytest.mark.parametrize(
    ("line", "limit"), [(ALIVE, 60.0), (LONG_TURN, 600.0), ("ready", 60.0), ("remote x {}", 60.0)]
)
def test_silence_after_a_line(line: str, limit: float) -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.started("child", 0.0)
    watchdog.heard("child", line, 1.0)
    assert hung_at(watchdog, 1.0, 2000.0) == {"child": 1.0 + limit}


def test_a_start_may_take_as_long_as_a_load() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.started("child", 0.0)
    assert hung_at(watchdog, 0.0, 2000.0) == {"child": 600.0}


def test_a_load_that_has_ended_leaves_no_long_patience() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.started("child", 0.0)
    watchdog.heard("child", LONG_TURN, 1.0)
    assert hung_at(watchdog, 1.0, 500.0) == {}
    watchdog.heard("child", ALIVE, 500.0)
    assert hung_at(watchdog, 500.0, 2000.0) == {"child": 560.0}


def test_what_ended_is_not_missed_and_what_began_again_is_watched() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.started("child", 0.0)
    watchdog.heard("child", ALIVE, 0.0)
    watchdog.ended("child")
    watchdog.heard("child", ALIVE, 1.0)  # its last line, read late
    assert hung_at(watchdog, 1.0, 2000.0) == {}
    watchdog.started("child", 2000.0)
    watchdog.heard("child", ALIVE, 2000.0)
    assert hung_at(watchdog, 2000.0, 3000.0) == {"child": 2060.0}


def test_a_supervisor_that_was_stopped_itself_blames_nobody() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.started("child", 0.0)
    watchdog.heard("child", ALIVE, 0.0)
    assert watchdog.overdue(1.0) == []
    assert watchdog.overdue(5000.0) == []  # Ctrl+Z, and much later ``fg``
    assert hung_at(watchdog, 5000.0, 9000.0) == {"child": 5060.0}


@given(
    st.lists(st.floats(0.1, 200.0), min_size=1, max_size=30),
    st.sampled_from([ALIVE, LONG_TURN]),
)
def test_whoever_speaks_in_time_is_never_killed_and_whoever_does_not_always_is(
    pauses: list[float], line: str
) -> None:
    limit = {ALIVE: 60.0, LONG_TURN: 600.0}[line]
    watchdog = Watchdog(PATIENCE)
    watchdog.started("child", 0.0)
    watchdog.heard("child", line, 0.0)
    now = 0.0
    for pause in pauses:
        hung = hung_at(watchdog, now, now + pause)
        assert bool(hung) == (limit < pause)
        if hung:
            return
        now += pause
        watchdog.heard("child", line, now)


@pytest.mark.parametrize("silence", [5.0, 60.0, 3600.0])
def test_a_load_always_has_longer(silence: float) -> None:
    assert patience(silence).long_turn >= max(600.0, 10 * silence)
