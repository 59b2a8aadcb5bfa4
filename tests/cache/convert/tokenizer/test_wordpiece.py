"""WordPiece of a GGUF: the tokens are those of the ``tokenizers`` library's own BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Tokenizer

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.model_files import write_json
from cupola.cache.convert.tokenizer.wordpiece import WordPiece
from cupola.cache.errors import BrokenFileError
from tests.cache.convert.tiny_bert_gguf import phantom, write_bert

SMALL = [
    "[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "!", "[", "]", "##]", "##[", "-",
    "cafe", "creme", "uber", "un", "##believ", "##able", "##s", "play", "##ing", "a", "##a", "b",
    "##b", "c", "1", "##9", "20", "日", "本", "語", "한", "##국", "ß", "##ß", "▁", "##▁", "\u0131",
    "i",
]  # fmt: skip
CASED = [*SMALL, "Cafe", "Café", "É", "##É", "A", "##B"]
TEXTS = [
    "",
    "Unbelievable! He plays, playing 2019.",
    "Café Crème über ÜBER cafe\u0301",  # composed, and as a letter with a mark
    "日本語 and 日a本b, 한국",
    "zzz unbelievab un-play [MASK] [CLS] [ x ]",
    "a\tb\u00a0c\u200b\ufeffd\x00e\u3000f \U0001f600 a\u0301b ▁ ß İ \u0131",
    "a" * 150,
]


def rebuilt(words: list[str], folder: Path) -> Tokenizer:
    """The tokenizer that is made of a GGUF."""
    write_bert(folder / "t.gguf", words=words)
    gguf = GgufFile(folder / "t.gguf")
    write_json(folder / "tokenizer.json", WordPiece(gguf, len(words)).tokenizer_json())
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def original(words: list[str], *, lowercase: bool) -> BertWordPieceTokenizer:
    vocabulary = {word: number for number, word in enumerate(words)}
    return BertWordPieceTokenizer(vocabulary, lowercase=lowercase)


@pytest.fixture(scope="module", params=[SMALL, CASED], ids=["uncased", "cased"])
def both(request, tmp_path_factory) -> tuple[Tokenizer, BertWordPieceTokenizer]:
    words: list[str] = request.param
    made = rebuilt(words, tmp_path_factory.mktemp("bert"))
    return made, original(words, lowercase=words is SMALL)


def same(both: tuple[Tokenizer, BertWordPieceTokenizer], text: str) -> None:
    made, expected = (tokenizer.encode(text) for tokenizer in both)
    assert (made.tokens, made.ids) == (expected.tokens, expected.ids)
    assert both[0].decode(made.ids) == both[1].decode(expected.ids)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_of_a_text(both, text: str) -> None:
    same(both, text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("abcÉéßİ日本 -[]▁1\u0301\t'!#")) | st.text())
def test_tokens_of_any_text(both, text: str) -> None:
    same(both, text)


def test_tokens_of_a_pair(both) -> None:
    made, expected = (tokenizer.encode("play", "a café") for tokenizer in both)
    assert (made.ids, made.type_ids) == (expected.ids, expected.type_ids)


def test_the_vocabulary_of_a_published_model(real_encoder_weights: Path, tmp_path: Path) -> None:
    published = Tokenizer.from_file(str(real_encoder_weights.parent / "tokenizer.json"))
    published.no_truncation()
    published.no_padding()
    by_number = {number: token for token, number in published.get_vocab().items()}
    made = rebuilt([by_number[number] for number in range(len(by_number))], tmp_path)
    for text in TEXTS:
        assert made.encode(text).ids == published.encode(text).ids


def test_roles_that_a_file_does_not_name(tmp_path: Path) -> None:
    without: dict[str, Any] = {
        f"{role}_token_id": None for role in ("cls", "seperator", "unknown", "padding")
    }
    usual = ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", *"abc"]
    write_bert(tmp_path / "usual.gguf", words=usual, **without)
    made = WordPiece(GgufFile(tmp_path / "usual.gguf"), len(usual)).tokenizer_json()
    assert made["post_processor"]["cls"] == ["[CLS]", 101]
    write_bert(tmp_path / "short.gguf", words=SMALL, **without)
    with pytest.raises(BrokenFileError, match="which token is 'cls'"):
        WordPiece(GgufFile(tmp_path / "short.gguf"), len(SMALL))


def test_two_tokens_that_become_one(tmp_path: Path) -> None:
    words = [*map(phantom, SMALL), "▁[SEP]"]
    write_bert(tmp_path / "t.gguf", words=[*SMALL, "more"], tokens=words)
    with pytest.raises(BrokenFileError, match="the same token twice"):
        WordPiece(GgufFile(tmp_path / "t.gguf"), len(words))
