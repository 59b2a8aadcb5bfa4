"""Text to tokens and back, without an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.scheduler.protocol.tasks import Chat, Decode, Encode, Text
from cupola.workers.model.backend import RequestError
from cupola.workers.model.conversion import convert
from cupola.workers.model.text import TextCodec

MODEL = Path(__file__).parents[1] / "data" / "builder-fp32"


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return TextCodec(MODEL)


def test_tokens_and_what_they_stand_for(codec):
    output = convert(codec, "r", Encode(Text("hé")))
    assert b"".join(output.pieces) == "hé".encode()
    assert output.usage is not None
    assert len(output.tokens) == len(output.pieces) == output.usage.prompt_tokens == 3
    assert output.last


def test_tokens_become_their_text_again(codec):
    tokens = convert(codec, "r", Encode(Text("some text"))).tokens
    assert convert(codec, "r", Decode(tokens)).text == "some text"


def test_special_tokens_are_parsed_when_that_is_wanted(codec):
    (end,) = convert(codec, "r", Encode(Text("<|end|>"))).tokens
    assert len(convert(codec, "r", Encode(Text("<|end|>", parse_special=False))).tokens) == 7
    assert convert(codec, "r", Encode(Text("<|end|>"))).tokens == (end,)  # and nothing lingers
    assert convert(codec, "r", Decode((end,))).text == "<|end|>"
    assert convert(codec, "r", Decode((end,), keep_special=False)).text == ""


def test_a_conversation_is_told_as_the_template_writes_it(codec):
    chat = Chat(({"role": "user", "content": "hello"},))
    output = convert(codec, "r", Encode(chat))
    assert "hello" in output.text and "<|user|>" in output.text
    assert list(output.tokens) == codec.encode_chat(chat)


@pytest.mark.parametrize("token", [100_000, 2**31, 2**40, -1])
def test_a_token_that_does_not_exist_is_named(codec, token):
    with pytest.raises(RequestError, match=str(token)) as caught:
        convert(codec, "r", Decode((token,)))
    assert caught.value.param == "ids"


def test_a_template_that_refuses_is_an_error_for_the_client(codec):
    with pytest.raises(RequestError, match="template") as caught:
        convert(codec, "r", Encode(Chat((), template_options={"messages": 7})))
    assert caught.value.param == "prompt"
