"""The rebuilt tokenizer against llama.cpp's reading of the same vocabulary and merges."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.tokenizer_files import TokenizerFiles
from cupola.cache.errors import BrokenFileError, UnsupportedError
from tests.cache.convert.tiny_gguf import TinyModel

DATA = Path(__file__).parents[2] / "data"
TEXTS: list[str] = json.loads((DATA / "texts.json").read_text())
TOKENS: dict[str, list[list[int]]] = json.loads((DATA / "tokens.json").read_text())


@pytest.fixture(scope="module")
def source(real_gguf: Path) -> GgufFile:
    return GgufFile(real_gguf)


@pytest.mark.parametrize("pre", TOKENS)
def test_tokens_are_llama_cpps(pre: str, source: GgufFile) -> None:
    source.metadata["tokenizer.ggml.pre"] = pre
    tokenizer = rebuilt(TokenizerFiles(source, 49152))
    for text, expected in zip(TEXTS, TOKENS[pre], strict=True):
        if pre == "qwen2" and not unicodedata.is_normalized("NFC", text):
            continue  # Qwen's own tokenizer normalises, llama.cpp does not
        assert tokenizer.encode(text, add_special_tokens=False).ids == expected, ascii(text)


def test_decoding_gives_the_text_back(source: GgufFile) -> None:
    source.metadata["tokenizer.ggml.pre"] = "smollm"
    tokenizer = rebuilt(TokenizerFiles(source, 49152))
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if "\ue000" not in text:  # two of its bytes have no token in this vocabulary
            assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_corpus_is_what_the_fixture_was_made_of() -> None:
    assert {len(ids) for ids in TOKENS.values()} == {len(TEXTS)}


def test_config_names_special_tokens_and_template(source: GgufFile) -> None:
    source.metadata["tokenizer.ggml.pre"] = "smollm"
    files = TokenizerFiles(source, 49152)
    config = files.tokenizer_config()
    assert config["bos_token"] == "<|im_start|>"
    assert config["eos_token"] == config["pad_token"] == "<|im_end|>"
    assert config["chat_template"] == files.chat_template
    assert config["model_max_length"] == 8192
    assert files.ends == [0, 2]  # <|endoftext|> and <|im_end|>


def test_bos_is_added_where_the_file_says_so(tmp_path: Path) -> None:
    path = TinyModel(metadata={"tokenizer.ggml.add_bos_token": True}).write(tmp_path / "m.gguf")
    files = TokenizerFiles(GgufFile(path), TinyModel().vocabulary)
    assert files.bos is not None
    assert rebuilt(files).encode("hi").ids[0] == files.bos


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"tokenizer.ggml.model": "t5"}, UnsupportedError, "kind 't5'"),
        ({"tokenizer.ggml.pre": "mystery"}, UnsupportedError, "'mystery'.*smollm"),
        ({"tokenizer.ggml.merges": ["h zzz"]}, BrokenFileError, "merges 'h zzz'"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, BrokenFileError, "types for 2 tokens|twice"),
        ({"tokenizer.ggml.token_type": [1, 1]}, BrokenFileError, "2 token types"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, BrokenFileError, "1000000"),
        ({"tokenizer.ggml.tokens": [1, 2]}, BrokenFileError, "other things than texts"),
        ({"tokenizer.ggml.tokens": "abc"}, BrokenFileError, "is a str, not a list"),
    ],
)
def test_contradictions_are_named(
    metadata: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    source = GgufFile(TinyModel().write(tmp_path / "m.gguf"))
    source.metadata.update(metadata)
    with pytest.raises(error, match=message):
        TokenizerFiles(source, TinyModel().vocabulary).tokenizer_config()


def rebuilt(files: TokenizerFiles) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(files.tokenizer_json()))
