"""SentencePiece's BPE from a GGUF, against the library ``sentencepiece`` itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from cupola.cache.convert.formats.gguf_file import GgufFile
from cupola.cache.convert.tokenizer.tokenizer_files import TokenizerFiles
from cupola.cache.errors import BrokenFileError
from tests.cache.convert.tiny_gguf import TinyModel

DATA = Path(__file__).parents[2] / "data"
TEXTS: list[str] = json.loads((DATA / "texts.json").read_text("utf-8"))
TRAINED: dict[str, dict[str, Any]] = json.loads((DATA / "sentencepiece.json").read_text("utf-8"))


def metadata(name: str) -> dict[str, Any]:
    trained = TRAINED[name]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": trained["tokens"],
        "tokenizer.ggml.token_type": trained["kinds"],
        "tokenizer.ggml.scores": trained["scores"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_space_prefix": name == "prefix",
        "tokenizer.ggml.add_bos_token": True,
    }


def rebuilt(path: Path, name: str, architecture: str = "llama", **changed: Any) -> Tokenizer:
    about = metadata(name) | {f"tokenizer.ggml.{key}": value for key, value in changed.items()}
    file = TinyModel(architecture=architecture, metadata=about).write(path / "m.gguf")
    files = TokenizerFiles(GgufFile(file), len(TRAINED[name]["tokens"]))
    return Tokenizer.from_str(json.dumps(files.tokenizer_json()))


@pytest.mark.parametrize("name", TRAINED)
def test_tokens_are_those_of_sentencepiece(name: str, tmp_path: Path) -> None:
    tokenizer = rebuilt(tmp_path, name)
    wrong = [
        (text, tokenizer.encode(text, add_special_tokens=False).tokens)
        for text, expected in zip(TEXTS, TRAINED[name]["ids"], strict=True)
        if tokenizer.encode(text, add_special_tokens=False).ids != expected
        and not set(text) & {"▁"}  # this sign is a space there
        and "<" not in text  # special tokens are found in the text here
    ]
    assert wrong == []


@pytest.mark.parametrize("name", TRAINED)
def test_decoding_gives_the_text_back(name: str, tmp_path: Path) -> None:
    tokenizer = rebuilt(tmp_path, name)
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False).lstrip() == text.lstrip()


def test_a_text_begins_with_bos_where_the_file_says_so(tmp_path: Path) -> None:
    assert rebuilt(tmp_path, "plain").encode("a").ids[0] == 1
    assert rebuilt(tmp_path, "plain", add_bos_token=False).encode("a").ids[0] != 1


def test_phi3_special_tokens_take_the_white_space_behind_them(tmp_path: Path) -> None:
    phi, other = (rebuilt(tmp_path, "prefix", name) for name in ("phi3", "llama"))
    assert phi.encode("</s>  a").ids == phi.encode("</s>a").ids
    assert other.encode("</s>  a").ids != other.encode("</s>a").ids


@pytest.mark.parametrize("scores", [[0.0], ["a"] * 700, [1] * 699])
def test_scores_must_fit_the_tokens(scores: list[Any], tmp_path: Path) -> None:
    with pytest.raises(BrokenFileError, match="no score for each token"):
        rebuilt(tmp_path, "plain", scores=scores)


def test_words_of_the_gpt_4o_rules(tmp_path: Path) -> None:
    """Phi-4-mini: words end where capitals begin, keep their contractions, and digits go by three.

    The expected words are those of the regular expression that OpenAI publishes for o200k_base.
    """
    path = TinyModel(metadata={"tokenizer.ggml.pre": "gpt-4o"}).write(tmp_path / "m.gguf")
    files = TokenizerFiles(GgufFile(path), TinyModel().vocabulary)
    splitter = Tokenizer.from_str(json.dumps(files.tokenizer_json())).pre_tokenizer
    words = splitter.pre_tokenize_str("HelloWorld it's DON'T 12345 a/b//\n  x")
    assert [word.replace("Ġ", " ").replace("Ċ", "\n") for word, _ in words] == [
        *("Hello", "World", " it's", " DON'T", " ", "123", "45", " a", "/b", "//\n", " ", " x"),
    ]
