"""Special tokens come from the chat template only; what spells them in a message is text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from cupola.scheduler.protocol.tasks import Chat, Encode
from cupola.workers.model.conversion import convert
from cupola.workers.model.text import TextCodec
from tests.cases import case

BAR = "\uff5c"
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[[INST]]", "<|im_end|>\n"]
CONTROL = f"<{BAR}User{BAR}>"  # not marked as special, but it is
ORDINARY = "<think>"  # added to the vocabulary, and not special
TEMPLATE = (
    "{{ bos_token }}{% for tool in tools or [] %}<|im_start|>tool\n{{ tool|tojson }}<|im_end|>\n"
    "{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}{{ ' ' + m.name if m.name }}\n"
    "{% if m.content is string %}{{ m.content.strip() }}{% else %}{% for part in m.content or [] %}"
    "{{ part.text }}{% endfor %}{% endif %}{% for call in m.tool_calls or [] %}"
    "{{ call|tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def byte_fallback() -> Tokenizer:
    """As SentencePiece has it, with its special tokens in the vocabulary."""
    pieces = ["<unk>", *SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    return made


@pytest.fixture(scope="module", params=[byte_level, byte_fallback])
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextCodec:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer: Tokenizer = request.param()
    tokenizer.add_tokens([ORDINARY, CONTROL])
    tokenizer.add_special_tokens([AddedToken(text, rstrip=text == "</s>") for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"chat_template": TEMPLATE, "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return TextCodec(folder)


def special_ids(codec: TextCodec) -> set[int]:
    return {codec.encode(text, add_special=False)[-1] for text in [*SPECIAL, CONTROL]}


def specials(codec: TextCodec, chat: Chat) -> list[int]:
    known = special_ids(codec)
    return [token for token in codec.encode_chat(chat) if token in known]


def message(text: str) -> Chat:
    return Chat(({"role": "user", "content": text},))


def of_role(role: str) -> Callable[[str], Chat]:
    return lambda text: Chat(({"role": role, "content": text}, {"role": "user", "content": "Hi"}))


PLACES: dict[str, Callable[[str], Chat]] = {
    **{role: of_role(role) for role in ("system", "developer", "user", "assistant", "tool")},
    "name": lambda text: Chat(({"role": "user", "name": text, "content": "Hi"},)),
    "parts": lambda text: Chat(({"role": "user", "content": [{"type": "text", "text": text}]},)),
    "call": lambda text: Chat(
        ({"role": "assistant", "tool_calls": [{"name": text, "arguments": {text: [text]}}]},)
    ),
    "tool's description": lambda text: Chat(
        ({"role": "user", "content": "Hi"},), ({"name": "f", "description": text},)
    ),
    "tool's schema": lambda text: Chat(
        ({"role": "user", "content": "Hi"},), ({"name": "f", "properties": {text: {}}},)
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_spelling_in_any_place_is_text(codec: TextCodec, place: str):
    chat = PLACES[place]
    for spelled in (*SPECIAL, CONTROL):
        text = f"one {spelled} two{spelled}{spelled}"
        with case(spelled):
            assert specials(codec, chat(text)) == specials(codec, chat("one two"))
            told = convert(codec, "r", Encode(chat(text)))
            assert list(told.tokens) == codec.encode_chat(chat(text))
            assert text in told.text or json.dumps(text, ensure_ascii=False)[1:-1] in told.text


@pytest.mark.parametrize("spelled", [*SPECIAL, CONTROL])
def test_whoever_wants_it_has_the_token(codec: TextCodec, spelled: str):
    text = f"one {spelled} two"
    chat = Chat(({"role": "user", "content": text},), parse_special=True)
    before = specials(codec, message("one two"))
    assert len(specials(codec, chat)) == len(before) + 1
    assert codec.encode_chat(chat) == codec.encode(codec.render(chat).text, add_special=False)


def cuts(text: str) -> Iterator[list[str]]:
    for at in range(1, len(text)):
        yield [text[:at], text[at:]]
        if at > 1:
            yield [text[: at - 1], text[at - 1 : at], text[at:]]


@pytest.mark.parametrize("spelled", [*SPECIAL, CONTROL])
def test_parts_that_spell_one_together_are_text(codec: TextCodec, spelled: str):
    for texts in cuts(spelled):
        parts = [{"type": "text", "text": text} for text in texts]
        chat = Chat(({"role": "user", "content": parts},))
        assert specials(codec, chat) == specials(codec, message("Hi")), texts
        assert spelled in codec.render(chat).text


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*SPECIAL, CONTROL, ORDINARY, "<|", "|>", "[", "]", "\n", " "]),
            st.text(max_size=4),
        ),
        max_size=12,
    ).map("".join)
)
def test_any_text_adds_no_special_token_and_loses_nothing(codec: TextCodec, text: str):
    empty = specials(codec, message(""))
    chat = message(text)
    assert specials(codec, chat) == empty
    decoded = codec.decode(codec.encode_chat(chat), keep_special=True)
    # SentencePiece's decoders also drop spaces.
    assert decoded.replace(" ", "") == codec.render(chat).text.replace(" ", "")


ORDINARY_TEXTS = [
    "",
    "Hi",
    "a < b",
    "> quoted",
    "if a[0] <",
    "naïve 🙂\n",
    "<think>x</think>",
    "|>",
]


@pytest.mark.parametrize("text", ORDINARY_TEXTS)
def test_ordinary_conversations_have_the_same_tokens_as_ever(codec: TextCodec, text: str):
    for other in ORDINARY_TEXTS:
        messages: tuple[dict[str, Any], ...] = (
            {"role": "system", "content": text},
            {"role": "user", "content": [{"type": "text", "text": other}]},
        )
        chat, parsed = Chat(messages), Chat(messages, parse_special=True)
        with case(other):
            assert codec.render(chat).text == codec.render(parsed).text
            assert codec.encode_chat(chat) == codec.encode_chat(parsed)


def test_the_private_characters_of_a_message_stay(codec: TextCodec):
    """What is put into the messages meanwhile is taken from characters that they do not have."""
    text = "<s>" + "".join(map(chr, [*range(0xFDD0, 0xFDF0), 0xE000, 0xE001]))
    assert text in codec.render(message(text)).text
    decoded = codec.decode(codec.encode_chat(message(text)), keep_special=True)
    assert text in decoded


def test_an_answer_that_goes_on_behind_a_spelling(codec: TextCodec):
    messages = ({"role": "assistant", "content": "a <|im_end|>"},)
    rendered = codec.render(Chat(messages, continue_last=True))
    assert rendered.text.endswith("a <|im_end|>")
    tokens = codec.encode_rendered(rendered)
    assert tokens[-1] not in special_ids(codec)
