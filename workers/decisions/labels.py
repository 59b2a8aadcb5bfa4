"""Which tokens stand for the options of a question, at the place where the model answers. Pure.

One token is enough if the tokenizer has one for every option there, which is tried and not assumed:
the options' own texts, else letters, else numbers. If none will do, an option is the tokens of its
text and the end of the model's turn. The end is scored as well, because one option may be the
beginning of another. A single token needs no end: no token is the beginning of another one.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cupola.workers.decisions.trie import END, Tokens

# The tokens of a text at the place of the answer; None: they cannot be told from those before it.
Encode = Callable[[str], Tokens | None]


@dataclass(frozen=True, slots=True)
class Labels:
    """``texts``: what the question calls the options; None: by their own texts."""

    texts: tuple[str, ...] | None
    tokens: tuple[Tokens, ...]


def labels_of(options: Sequence[str], encode: Encode) -> Labels | None:
    """The labels of these options. None: the tokenizer cannot tell them apart."""
    if (own := _singles(options, encode)) is not None:
        return Labels(None, own)
    for names in _names(len(options)):
        if (tokens := _singles(names, encode)) is not None:
            return Labels(names, tokens)
    whole = [_encoded(option, encode) for option in options]
    tokens = tuple((*found, END) for found in whole if found)
    return Labels(None, tokens) if len(set(tokens)) == len(options) else None


def _names(count: int) -> Iterator[tuple[str, ...]]:
    if count <= len(string.ascii_uppercase):
        yield tuple(string.ascii_uppercase[:count])
    yield tuple(str(number) for number in range(1, count + 1))


def _singles(texts: Sequence[str], encode: Encode) -> tuple[Tokens, ...] | None:
    """One token for each text, all different; None: there are none."""
    found = []
    for text in texts:
        tokens = _encoded(text, encode)
        if tokens is None or len(tokens) != 1:
            return None
        found.append(tokens)
    return tuple(found) if len(set(found)) == len(found) else None


def _encoded(text: str, encode: Encode) -> Tokens | None:
    """With a space before it, where the text alone would merge with what stands before it."""
    return encode(text) or encode(f" {text}")
