"""The queue that is read as a whole."""

from __future__ import annotations

import asyncio

from cupola.gateway.core.mailbox import Mailbox


def test_takes_all_that_has_come() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox()
        mailbox.put(1)
        mailbox.put(2)
        assert await mailbox.take() == [1, 2]

    asyncio.run(scenario())


def test_waits_for_the_first() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox()
        taking = asyncio.create_task(mailbox.take())
        await asyncio.sleep(0)
        assert not taking.done()
        mailbox.put(1)
        mailbox.put(2)
        assert await taking == [1, 2]

    asyncio.run(scenario())


def test_the_longest_wait_ends_with_nothing() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox()
        assert await mailbox.take(max_wait=0.0) == []

    asyncio.run(scenario())


def test_cancelled_reader_loses_nothing() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox()
        taking = asyncio.create_task(mailbox.take())
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking])
        mailbox.put(1)
        assert await mailbox.take() == [1]

    asyncio.run(scenario())


def test_each_wait_is_as_long_as_it_says() -> None:
    async def scenario() -> None:
        mailbox: Mailbox[int] = Mailbox()
        mailbox.put(1)
        assert await mailbox.take(max_wait=0.01) == [1]
        assert await mailbox.take(max_wait=0.02) == []
        assert await mailbox.take(max_wait=0.0) == []  # shorter than the one before
        patient = asyncio.create_task(mailbox.take())
        await asyncio.sleep(0.03)
        assert not patient.done()  # what was left of the others did not wake it
        mailbox.put(2)
        assert await patient == [2]
        mailbox.close()

    asyncio.run(scenario())
