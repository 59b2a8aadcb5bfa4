"""The fewest tokens that a text can have: never more than it has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from cupola.workers.model.token_bound import TokenBound

CORPUS = [
    "the cat sat on the mat",
    "    indented code\n\n\n",
    "===================",
    "ééé 日本 🙂",
] * 9


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+|\S+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.add_special_tokens(["<|im_start|>", "<|a_rather_long_special_token|>"])
    return made


def incomplete() -> Tokenizer:
    """With no token for a byte that it has not seen."""
    made = Tokenizer(models.BPE({"a": 0, "b": 1, "Ġ": 2, "Ã": 3}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def composing() -> Tokenizer:
    made = byte_level()
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    return made


def stripping() -> Tokenizer:
    made = byte_level()
    made.add_special_tokens([AddedToken("<|end|>", lstrip=True, rstrip=True)])
    return made


def byte_fallback() -> Tokenizer:
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "▁t", "▁th"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("▁", "t"), ("▁t", "h")]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.ByteFallback()
    return made


def word_piece() -> Tokenizer:
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def without_bytes() -> Tokenizer:
    return Tokenizer(models.BPE({"a": 0, "b": 1}, []))


def forgetting() -> Tokenizer:
    made = byte_level()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return made


def deleting() -> Tokenizer:
    made = byte_level()
    made.normalizer = normalizers.Replace("aaa", "")
    return made


LOSSLESS = [byte_level, incomplete, composing, stripping, byte_fallback]
LOSSY = [word_piece, without_bytes, forgetting, deleting]
LONG = "<|a_rather_long_special_token|>"
PIECES = ["<|im_start|>", "<|end|>", LONG, " the", "\n\n\n", "   ", "=" * 20]


@pytest.fixture(scope="module", params=[*LOSSLESS, *LOSSY])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    made: Callable[[], Tokenizer] = request.param
    return made()


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=9), max_size=20).map("".join))
def test_no_text_has_fewer_tokens(tokenizer: Tokenizer, text: str):
    bound = TokenBound(tokenizer).fewest(text)
    assert bound <= len(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("make", LOSSLESS)
def test_much_text_has_many_tokens(make: Callable[[], Tokenizer]):
    assert TokenBound(make()).fewest("ab " * 100_000) > 5000


@pytest.mark.parametrize("make", LOSSY)
@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000, "é" * 100_000])
def test_nothing_is_claimed_of_a_tokenizer_that_loses_text(
    make: Callable[[], Tokenizer], text: str
):
    assert TokenBound(make()).fewest(text) == 0
