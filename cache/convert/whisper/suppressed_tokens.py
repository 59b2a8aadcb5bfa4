"""The tokens that a Whisper may not choose, for models whose makers do not say them.

They are those of Whisper's own program: marks that nobody speaks, and tokens that are no text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from cupola.cache.errors import BrokenFileError

_MARKS = '"#()*+/:;<=>@[\\]^_`{|}~「」『』'
_PAIRS = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split()
_NOTES = "♩♪♫♬♭♮♯"  # their tokens begin with bytes that nothing else has
_TASKS = (
    *("<|startoftranscript|>", "<|translate|>", "<|transcribe|>"),
    *("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|nocaptions|>"),
)


def suppressed_tokens(tokenizer_file: Path) -> dict[str, Any]:
    """By the names that generation_config.json has. Raises BrokenFileError."""
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # the library has no class of its own for it
        raise BrokenFileError(f"{tokenizer_file.name}: {error}") from None

    def encoded(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    # Inside a word these are spoken: "don't", "twenty-one".
    found = {encoded(f" {mark}")[0] for mark in "-'"}
    for mark in (*_MARKS, *_PAIRS, *_NOTES):
        for tokens in (encoded(mark), encoded(f" {mark}")):
            if len(tokens) == 1 or mark in _NOTES:
                found.add(tokens[0])
    found |= {each for name in _TASKS if (each := tokenizer.token_to_id(name)) is not None}
    end = tokenizer.token_to_id("<|endoftext|>")
    first = [*encoded(" "), *([] if end is None else [end])]
    return {"suppress_tokens": sorted(found), "begin_suppress_tokens": first}
