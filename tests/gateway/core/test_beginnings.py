"""Prompts that begin alike have digests in common, and no others have."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.gateway.core.beginnings import MOST, beginnings
from cupola.scheduler.protocol.tasks import Chat, Embed, LocalModel, Task, Text, Tokens, Work

MODEL = LocalModel("m:1", "/models/m", ExecutionProvider.CPU)
OTHER = LocalModel("o:1", "/models/o", ExecutionProvider.CPU)


def chat(*texts: str, **fields: Any) -> Work:
    messages = tuple({"role": "user", "content": text} for text in texts)
    return Work(Chat(messages, **fields))


def of(task: Task, model: LocalModel = MODEL, tenant: str = "") -> tuple[bytes, ...]:
    return beginnings(model, tenant, task)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (chat("a", "b"), chat("a", "b", "c")),
        (Work(Text("x" * 3000)), Work(Text("x" * 3000 + "y" * 3000))),
        (Work(Tokens((1,) * 600)), Work(Tokens((1,) * 600 + (2,) * 600))),
    ],
)
def test_a_prompt_that_goes_on_has_the_digests_of_its_beginning(short: Work, long: Work) -> None:
    assert 0 < len(of(short)) < len(of(long))
    assert of(long)[: len(of(short))] == of(short)


def test_what_cannot_share_a_cache_has_nothing_in_common() -> None:
    works = [
        of(chat("a")),
        of(chat("b")),
        of(chat("a"), OTHER),
        of(chat("a"), tenant="t"),
        of(chat("a", tools=({"name": "f"},))),
        of(Work(chat("a").prompt, cache_salt="s")),
    ]
    assert len({digest for work in works for digest in work}) == len(works)


def test_long_conversations_share_their_ends_and_their_beginnings() -> None:
    texts = [f"message {number}" for number in range(50)]
    earlier, later = of(chat(*texts[:48])), of(chat(*texts))
    assert len(earlier) == len(later) == MOST
    assert len({*earlier} & {*later}) >= MOST - 4
    assert earlier[:2] == later[:2]


@pytest.mark.parametrize("task", [Embed(()), Work(Text("short")), Work(Tokens((1, 2)))])
def test_what_is_too_short_or_no_prompt_has_none(task: Task) -> None:
    assert of(task) == ()
