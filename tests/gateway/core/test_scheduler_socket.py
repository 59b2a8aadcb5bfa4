"""Frames to and from a scheduler, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.scheduler_socket import FRAMES_AT_ONCE, SchedulerSocket
from cupola.scheduler.protocol.endpoint import Endpoint
from cupola.scheduler.protocol.messages import Done, LoadModel, decode_to_gateway
from cupola.scheduler.protocol.tasks import LocalModel
from tests.gateway.scripted_scheduler import WAIT, ScriptedScheduler

MODEL = LocalModel("m:1", "/m", ExecutionProvider.CPU)
ANSWERS = 3 * FRAMES_AT_ONCE + 1


def load(number: int) -> LoadModel:
    return LoadModel(str(number), MODEL)


def many(message: Any) -> Iterable[Done]:
    return (Done(f"{message.request_id} {number}") for number in range(ANSWERS))


async def answers(endpoint: Endpoint, turns: Iterable[list[LoadModel]], count: int) -> list[str]:
    """Send messages in turns of the loop. The ids of so many answers."""
    frames: list[bytes] = []
    all_there = asyncio.Event()

    def take(frame: bytes) -> None:
        frames.append(frame)
        if len(frames) == count:
            all_there.set()

    with SchedulerSocket.connected(endpoint) as socket, socket.watched():
        socket.take = take
        for messages in turns:
            socket.send(messages)
            await asyncio.sleep(0)
        await asyncio.wait_for(all_there.wait(), WAIT)
    messages_back = [decode_to_gateway(frame) for frame in frames]
    return [message.request_id for message in messages_back if isinstance(message, Done)]


def test_many_frames_at_once_all_come_and_in_order() -> None:
    with ScriptedScheduler(script=many) as scheduler:
        found = asyncio.run(answers(scheduler.endpoint, [[load(0)]], ANSWERS))
    assert found == [f"0 {number}" for number in range(ANSWERS)]


def test_what_is_sent_in_one_turn_or_several_arrives_in_order() -> None:
    with ScriptedScheduler(script=lambda message: [Done(message.request_id)]) as scheduler:
        turns = [[load(0), load(1)], [], [load(2)], [load(3), load(4), load(5)]]
        found = asyncio.run(answers(scheduler.endpoint, turns, 6))
    assert found == ["0", "1", "2", "3", "4", "5"]


def test_after_its_end_a_send_does_nothing() -> None:
    async def send(endpoint: Endpoint) -> None:
        with SchedulerSocket.connected(endpoint) as socket, socket.watched():
            pass
        socket.send([load(0)])

    with ScriptedScheduler(script=None) as scheduler:
        asyncio.run(send(scheduler.endpoint))


def test_whoever_waits_learns_that_a_frame_could_not_be_taken() -> None:
    def fail(frame: bytes) -> None:
        raise LookupError("told to fail")

    async def wait(endpoint: Endpoint) -> None:
        with SchedulerSocket.connected(endpoint) as socket, socket.watched():
            socket.take = fail
            socket.send([load(0)])
            await asyncio.wait_for(socket.failed(), WAIT)

    with ScriptedScheduler(script=many) as scheduler, pytest.raises(LookupError):
        asyncio.run(wait(scheduler.endpoint))
