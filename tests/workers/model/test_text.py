"""Stop strings, templates, and text that comes in pieces."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from cupola.scheduler.protocol.tasks import Chat
from cupola.workers.model.chat_template import ChatTemplate, TemplateError
from cupola.workers.model.text import Detokenizer, StopMatcher, TextCodec


def feed(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    """What is sent piece by piece, and whether a stop string ended it."""
    matcher, sent = StopMatcher(stops), []
    for piece in pieces:
        text, stopped = matcher.feed(piece)
        sent.append(text)
        if stopped is not None:
            return sent, True
    return [*sent, matcher.flush()], False


def test_text_that_may_begin_a_stop_string_is_held_back():
    assert feed(["END"], ["a", "E", "N", "x"]) == (["a", "", "", "ENx", ""], False)


def test_a_stop_string_across_pieces_is_never_sent():
    assert feed(["END"], ["some E", "N", "D more"]) == (["some ", "", ""], True)


def test_the_earliest_of_several_stops_counts():
    assert feed(["yz", "x"], ["axyz"]) == (["a"], True)


def test_what_was_held_is_sent_when_the_answer_ends():
    assert feed(["END"], ["abcEN"]) == (["abc", "EN"], False)


@given(
    text=st.text("ab", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=10),
)
def test_any_split_sends_exactly_the_text_before_the_first_stop(text, stops, cuts):
    at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(at)]
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    sent, stopped = feed(stops, pieces)
    assert stopped == bool(found)
    # With several stops the one that is complete first wins, as the pieces come.
    if not found:
        assert "".join(sent) == text
    else:
        assert text.startswith("".join(sent))
        assert not any(stop in "".join(sent) for stop in stops)


HI = Chat(({"role": "user", "content": "Hi"},))
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_writes_the_conversation():
    prompt = ChatTemplate(CHATML, {}).render(HI)
    assert prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[0].content.nothing.at_all }}",
        "{% for i in range(10**9) %}xxxxxxxxxxxxxxxx{% endfor %}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_that_fails_or_misbehaves_is_an_error(source: str):
    with pytest.raises(TemplateError):
        ChatTemplate(source, {}).render(HI)


@pytest.fixture
def byte_codec(tmp_path: Path) -> TextCodec:
    """A tokenizer with one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    return TextCodec(tmp_path)


def test_characters_are_never_cut(byte_codec: TextCodec):
    text = "naïve 🙂 日本"
    detokenizer = byte_codec.detokenizer()
    pieces = [detokenizer.feed(token) for token in byte_codec.encode(text)]
    assert "".join(pieces) == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)
    assert detokenizer.flush() == ""


def test_a_character_cut_off_by_the_end_is_marked_not_lost(byte_codec: TextCodec):
    detokenizer = byte_codec.detokenizer()
    sent = [detokenizer.feed(token) for token in byte_codec.encode("a🙂")[:-1]]
    assert "".join(sent) == "a"
    assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"


def byte_fallback() -> Tokenizer:
    """As sentencepiece's models spell what they have no token for: byte by byte."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "é"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    return tokenizer


@given(st.lists(st.integers(0, 260), max_size=40))
def test_no_tokens_are_too_strange_for_the_detokenizer(tokens: list[int]):
    """tokenizers' own stream refuses bytes that make no character behind those that do."""
    tokenizer = byte_fallback()
    detokenizer = Detokenizer(tokenizer)
    text = "".join(map(detokenizer.feed, tokens)) + detokenizer.flush()
    plain = tokenizer.decode(tokens)
    for letter in "aé":  # what was sent before is not taken back
        assert text.count(letter) >= plain.count(letter)
    if "\N{REPLACEMENT CHARACTER}" not in plain:
        assert text == plain


def test_what_follows_strange_bytes_is_text_again():
    tokenizer = byte_fallback()
    detokenizer = Detokenizer(tokenizer)
    strange = [0xE6, 0x97, 0xA5, 0x80]  # a whole character and a byte that begins none
    tokens = [byte + 1 for byte in strange] + [258, 259, 260]  # then "a", " a" and "é"
    text = "".join(map(detokenizer.feed, tokens)) + detokenizer.flush()
    assert text == "日\N{REPLACEMENT CHARACTER}a aé"


def test_the_template_of_tokenizer_config_is_used(byte_codec: TextCodec):
    tokens = byte_codec.encode_chat(Chat(({"role": "user", "content": "é"},)))
    detokenizer = byte_codec.detokenizer()
    text = "".join(map(detokenizer.feed, tokens))
    assert text == "<|im_start|>user\né<|im_end|>\n<|im_start|>assistant\n"


def test_a_model_without_a_template_says_so(byte_codec: TextCodec, tmp_path: Path):
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(TemplateError, match="no chat template"):
        TextCodec(tmp_path).encode_chat(HI)


def test_a_broken_tokenizer_is_named(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        TextCodec(tmp_path)


@pytest.fixture
def spaced_codec(tmp_path: Path) -> TextCodec:
    """As SentencePiece has it: words begin with a visible space, other characters are bytes."""
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.add_special_tokens(["</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    return TextCodec(tmp_path)


def test_a_space_before_the_first_word_counts_where_the_answer_goes_on(spaced_codec: TextCodec):
    answer = spaced_codec.encode("a aé")
    for continues, expected in ((False, "a aé"), (True, " a aé")):
        detokenizer = spaced_codec.detokenizer(continues=continues)
        assert "".join(map(detokenizer.feed, answer)) + detokenizer.flush() == expected
    inside_a_word = spaced_codec.detokenizer(continues=True)
    assert inside_a_word.feed(spaced_codec.encode("aa")[-1]) == "a"
