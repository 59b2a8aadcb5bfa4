"""Lines between two processes: bounded, in order, and neither side waits for the other to read."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.scheduler.protocol.commands import ALIVE, LONG_TURN, Commands
from cupola.scheduler.protocol.lifeline import ORPHANED, STUCK, Lifeline
from cupola.scheduler.protocol.lines import (
    MAX_LINE_BYTES,
    MAX_WAITING_BYTES,
    LineBuffer,
    LineError,
    Outbox,
)

LONGEST = "x" * MAX_LINE_BYTES
WAIT = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT)
    with ours, theirs:
        yield ours, theirs


def lines_from(end: socket.socket, count: int) -> list[str]:
    buffer, lines = LineBuffer(), list[str]()
    while len(lines) < count:
        lines += buffer.feed(end.recv(4096))
    return lines


@given(st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"))), st.data())
def test_lines_do_not_depend_on_how_they_are_cut(lines: list[str], data: st.DataObject) -> None:
    raw = "".join(f"{line}\n" for line in lines).encode()
    buffer, read = LineBuffer(), list[str]()
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        read += buffer.feed(raw[:size])
        raw = raw[size:]
    assert read == lines


@given(st.binary(max_size=200))
def test_any_bytes_are_lines(raw: bytes) -> None:
    assert len(LineBuffer().feed(raw)) == raw.count(b"\n")


@pytest.mark.parametrize("end", ["", "\n", "\nmore"])
def test_a_line_has_a_greatest_length(end: str) -> None:
    assert LineBuffer().feed(LONGEST.encode() + b"\n") == [LONGEST]
    with pytest.raises(LineError):
        LineBuffer().feed((LONGEST + "x" + end).encode())


def test_sending_never_blocks_and_ends_at_a_bound(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    outbox = Outbox(pair[1])
    sent = 0
    with pytest.raises(LineError):
        while True:
            outbox.put(LONGEST)
            sent += 1
    assert outbox.waits and sent * MAX_LINE_BYTES > MAX_WAITING_BYTES / 2
    with pytest.raises(LineError):
        Outbox(pair[1]).put(LONGEST + "x")


@contextmanager
def child(scenario: Callable[[Lifeline, Commands], None]) -> Iterator[socket.socket]:
    """The supervisor's end of the lifeline of a process that plays ``scenario``."""
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT)
    process = multiprocessing.get_context("spawn").Process(target=play, args=(theirs, scenario))
    process.start()
    theirs.close()
    with ours:
        yield ours
    process.join(WAIT)
    assert process.exitcode in (0, ORPHANED, STUCK)
    process.close()


def play(end: socket.socket, scenario: Callable[[Lifeline, Commands], None]) -> None:
    lifeline = Lifeline(end)
    scenario(lifeline, lifeline.watch())


def await_lines(commands: Commands, count: int) -> list[str]:
    lines: list[str] = []
    with selectors.DefaultSelector() as selector:
        selector.register(commands, selectors.EVENT_READ)
        while len(lines) < count:
            assert selector.select(WAIT)
            lines += commands.read()
    return lines


MUCH = [f"{number} {LONGEST[10:]}" for number in range(300)]  # more than the sockets take


def sends_much_and_then_reads(lifeline: Lifeline, commands: Commands) -> None:
    for line in MUCH:
        lifeline.tell(line)
    lifeline.tell(str(await_lines(commands, len(MUCH)) == MUCH))
    await_lines(commands, 1)


@pytest.mark.slow
def test_both_sides_can_send_before_either_reads() -> None:
    with child(sends_much_and_then_reads) as end:
        outbox = Outbox(end)
        for line in MUCH:
            outbox.put(line)
        end.settimeout(WAIT)
        while outbox.waits:
            outbox.flush()
        assert lines_from(end, len(MUCH) + 1) == [*MUCH, "True"]


def repeats_its_commands(lifeline: Lifeline, commands: Commands) -> None:
    assert commands.read() == []
    lifeline.tell("ready")
    for line in await_lines(commands, 2):
        lifeline.tell(line)
    await_lines(commands, 1)


@pytest.mark.slow
def test_commands_wake_a_loop() -> None:
    with child(repeats_its_commands) as end:
        assert lines_from(end, 1) == ["ready"]
        end.sendall(b"stop\nlost cpu:0/0\n")
        assert lines_from(end, 2) == ["stop", "lost cpu:0/0"]


def beats(lifeline: Lifeline, commands: Commands) -> None:
    for state in (ALIVE, ALIVE, ALIVE, LONG_TURN, LONG_TURN, ALIVE):
        commands.beat(state)
    lifeline.tell("end")
    await_lines(commands, 1)


@pytest.mark.slow
def test_a_beat_is_told_when_it_is_news() -> None:
    with child(beats) as end:
        assert lines_from(end, 4) == [ALIVE, LONG_TURN, ALIVE, "end"]


def sleeps(lifeline: Lifeline, commands: Commands) -> None:
    time.sleep(600)


@pytest.mark.slow
def test_a_child_whose_loop_reads_nothing_ends() -> None:
    line = LONGEST.encode() + b"\n"
    with child(sleeps) as end, pytest.raises(OSError):
        for _ in range(4 * MAX_WAITING_BYTES // len(line)):
            end.sendall(line)
