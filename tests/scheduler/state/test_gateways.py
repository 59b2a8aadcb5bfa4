"""How long a gateway may be silent."""

from __future__ import annotations

from cupola.scheduler.state.gateways import Gateways
from cupola.scheduler.state.policy import SchedulerPolicy

ONE, TWO = b"gateway-1", b"gateway-2"


def gateways() -> Gateways:
    return Gateways(SchedulerPolicy(workers={}, lease=10))


def test_a_lease_begins_anew_with_each_message() -> None:
    there = gateways()
    there.heard(ONE, 0)
    there.heard(TWO, 4)
    there.heard(ONE, 6)
    assert sorted(there.deadlines()) == [14, 16]
    assert there.expired(13.9) == []
    assert there.expired(14) == [TWO]
    assert there.expired(16) == [ONE, TWO]
    assert list(there) == [ONE, TWO], "they stay until they are removed"


def test_who_is_removed_has_no_lease_and_no_process() -> None:
    there = gateways()
    there.heard(ONE, 0)
    there.tells_pid(ONE, 7)
    there.remove(ONE)
    there.remove(ONE)
    assert (list(there), there.deadlines(), there.pids) == ([], [], ())


def test_processes_are_told_in_order_and_unknown_ones_left_out() -> None:
    there = gateways()
    for peer, pid in ((ONE, 9), (TWO, 3), (b"gateway-3", 0)):
        there.heard(peer, 0)
        there.tells_pid(peer, pid)
    assert there.pids == (3, 9)
