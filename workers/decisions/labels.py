"""Which tokens stand for the options of a question, at the place where the model answers. Pure.

An option is its own text wherever that is cheap. A small model does not know which letter stands
for which option: its letters were no better than chance where its texts were right four times out
of five. Options that have many tokens together are named by letters, else by numbers, if the
tokenizer has one token for each of these there, which is tried and not assumed.

An option of several tokens is scored with the end of the model's turn, because one option may be
the beginning of another. A single token needs no end: none is the beginning of another one.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cupola.workers.decisions.trie import END, Tokens

MOST_TEXT_TOKENS = 64  # of all options of a question together

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
    whole = tuple((*found, END) for option in options if (found := _encoded(option, encode)))
    differ = len(set(whole)) == len(options)
    if differ and sum(map(len, whole)) <= MOST_TEXT_TOKENS:
        return Labels(None, whole)
    for names in _names(len(options)):
        if (tokens := _singles(names, encode)) is not None:
            return Labels(names, tokens)
    return Labels(None, whole) if differ else None


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
