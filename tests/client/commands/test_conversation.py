from __future__ import annotations

from collections.abc import Generator

import pytest

from cupola.client.commands.conversation import Conversation, Messages
from cupola.client.running_service import Ending


class Model:
    """Answers with prepared pieces, and keeps what it was asked."""

    def __init__(self, *pieces: str, fails: Exception | None = None) -> None:
        self.pieces = pieces
        self.fails = fails
        self.asked: list[Messages] = []
        self.closed = False

    def __call__(self, messages: Messages) -> Generator[str, None, Ending]:
        self.asked.append(messages)
        try:
            yield from self.pieces
            if self.fails is not None:
                raise self.fails
            return Ending("stop", {})
        finally:
            self.closed = True


def test_what_was_said_is_remembered() -> None:
    model = Model("Hel", "lo")
    conversation = Conversation(model)
    assert list(conversation.say("Hi")) == ["Hel", "lo"]
    assert list(conversation.say("Again")) == ["Hel", "lo"]
    assert model.asked[1] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Again"},
    ]


def test_a_cancelled_answer_ends_the_generation_and_is_kept_as_far_as_it_came() -> None:
    model = Model("Hel", "lo")
    conversation = Conversation(model)
    answer = conversation.say("Hi")
    assert next(iter(answer)) == "Hel"
    answer.close()
    assert model.closed
    assert conversation.messages[-1] == {"role": "assistant", "content": "Hel"}


def test_a_question_without_any_answer_is_forgotten() -> None:
    conversation = Conversation(Model(fails=RuntimeError("no worker")))
    with pytest.raises(RuntimeError):
        list(conversation.say("Hi"))
    assert conversation.messages == []


def test_clear() -> None:
    conversation = Conversation(Model("Hello"))
    list(conversation.say("Hi"))
    conversation.clear()
    assert conversation.messages == []
