"""Writes ``data/sentencepiece.json``: small vocabularies, and what sentencepiece makes of texts.

pip install sentencepiece
python tests/cache/convert/tokenizer/make_sentencepiece_fixture.py
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

DATA = Path(__file__).parents[2] / "data"
TEXT = Path(__file__).parents[4] / "loadtests" / "load" / "alice.txt"
KINDS: dict[str, dict[str, Any]] = {
    "prefix": {"add_dummy_prefix": True},
    "plain": {"add_dummy_prefix": False, "user_defined_symbols": ["▁▁", "▁▁▁", "\n\n"]},
}


def main() -> None:
    texts = json.loads((DATA / "texts.json").read_text("utf-8"))
    found = {}
    for name, options in KINDS.items():
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            input=str(TEXT),
            model_writer=model,
            vocab_size=700,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            **options,
        )
        trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        numbers = range(trained.get_piece_size())
        own = options.get("user_defined_symbols", [])
        tokens = [trained.id_to_piece(number) for number in numbers]
        found[name] = {
            # llama.cpp's converter writes the spaces of such tokens as spaces.
            "tokens": [each.replace("▁", " ") if each in own else each for each in tokens],
            "kinds": [
                4 if token in own else _kind(trained, number) for number, token in enumerate(tokens)
            ],
            "scores": [round(trained.get_score(number), 4) for number in numbers],
            "ids": [trained.encode(text) for text in texts],
        }
    (DATA / "sentencepiece.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")


def _kind(trained: Any, number: int) -> int:
    """The number that GGUF has for it."""
    if trained.is_unknown(number):
        return 2
    if trained.is_control(number):
        return 3
    if trained.is_unused(number):
        return 5
    return 6 if trained.is_byte(number) else 1


if __name__ == "__main__":
    main()
