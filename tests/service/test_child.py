"""What a child process is started with."""

from __future__ import annotations

import os
import socket
import time

import pytest

from cupola.service.processes.child import MAX_FAILED_STARTS, Child, ChildSpec

pytestmark = pytest.mark.slow


def tell(lifeline: socket.socket, *names: str) -> None:
    for name in names:
        lifeline.sendall(f"{name}={os.environ.get(name)}\n".encode())


def test_a_child_has_its_variables_and_the_rest_of_the_supervisors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUPOLA_TEST_ONE", "the operator's")
    variables = {"CUPOLA_TEST_ONE": "ours", "CUPOLA_TEST_TWO": "ours"}
    child = Child(ChildSpec("child", tell, tuple(variables), environment=variables))
    child.start(time.monotonic())
    lines: list[str] = []
    while child.lifeline is not None:
        lines += child.read_lines()
    child.clear()
    assert lines == ["CUPOLA_TEST_ONE=the operator's", "CUPOLA_TEST_TWO=ours"]
    assert "CUPOLA_TEST_TWO" not in os.environ


@pytest.mark.parametrize("serves", [False, True])
def test_a_child_that_ends_before_it_serves_is_started_cautiously(serves: bool) -> None:
    child = Child(ChildSpec("child", tell, ("BOLD",), cautious=("CAUTIOUS",)))
    said = []
    for start in range(MAX_FAILED_STARTS + 2):
        child.start(float(start))
        child.serves = serves
        lines: list[str] = []
        while child.lifeline is not None:
            lines += child.read_lines()
        child.plan_restart(float(start))
        said.append(lines == ["CAUTIOUS=None"])
    assert said == [False] * MAX_FAILED_STARTS + [not serves] * 2
