"""Keeps special tokens apart from text that only spells them.

A chat template writes special tokens as text, such as ``<|im_end|>``. A message that holds the same
text must not end a turn. So in the strings of the client each such spelling is broken by a
character that nobody uses. What is whole in the rendered text was written by the template.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer

from cupola.scheduler.protocol.tasks import Chat
from cupola.workers.model.user_strings import user_strings, with_strings

# Some models do not mark all of their control tokens as special, such as DeepSeek's, which
# have a wide bar on each side.
_CONTROL = re.compile(r"<[|\uff5c][^\s<>]*[|\uff5c]>")
_UNUSED = [*map(chr, range(0xFDD0, 0xFDF0)), *map(chr, range(0xE000, 0xF900))]


class SpecialTokens:
    """The special tokens of one tokenizer. It may be used from several threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        added = sorted(tokenizer.get_added_tokens_decoder().items())
        secret = secrets.token_hex(8)  # no text can spell what it does not know
        self._new: dict[str, str] = {}  # how ``_literal`` spells each special token
        for number, token in added:
            if token.special or _CONTROL.fullmatch(token.content):
                self._new[token.content] = f"\ue000{secret}{number}\ue001"
        self._literal, self._ids = _with_other_spellings(tokenizer, self._new)
        self._pattern = re.compile(_trie(self._new)) if self._new else None
        parts = [[text[:at], text[at:]] for text in self._new for at in range(1, len(text))]
        self._beginnings = frozenset(beginning for beginning, _ in parts)
        self._ends = frozenset(end for _, end in parts)
        self._first = frozenset(text[0] for text in self._new if text)
        self._longest = max(map(len, self._new), default=0)

    def separated(self, chat: Chat) -> tuple[Chat, str]:
        """The conversation with the spellings in its strings broken, and what breaks them.

        An empty string: nothing in it spells a special token. Raises ValueError.
        """
        if not self._is_suspicious(chat):
            return chat, ""
        strings = "".join(user_strings(chat))
        mark = next((mark for mark in _UNUSED if mark not in strings), None)
        if mark is None:
            raise ValueError("the messages use every private character of Unicode")
        return with_strings(chat, lambda text: self._broken(text, mark)), mark

    def encode(self, text: str, mark: str = "", *, add_special: bool = False) -> list[int]:
        """The tokens of a text in which spellings with a ``mark`` inside are only text.

        Without a ``mark``, all of it is only text.
        """
        if mark and self._pattern is not None:
            text = self._pattern.sub(lambda match: self._new[match[0]], text).replace(mark, "")
        # Unlike ``encode``, this lets other threads of Python run.
        (encoded,) = self._literal.encode_batch_fast([text], add_special_tokens=add_special)
        return [self._ids.get(token, token) for token in encoded.ids]

    def _is_suspicious(self, chat: Chat) -> bool:
        """Whether strings of the conversation spell a special token, alone or side by side."""
        if self._pattern is None:
            return False
        strings = list(user_strings(chat))
        return any(map(self._pattern.search, strings)) or (
            any(map(self._begins_one, strings)) and any(map(self._ends_one, strings))
        )

    def _broken(self, text: str, mark: str) -> str:
        assert self._pattern is not None
        # The marks around it, too: spellings may overlap.
        text = self._pattern.sub(lambda match: mark.join(["", *match[0], ""]), text)
        # Templates take white space away from the ends of a message.
        if self._begins_one(text):
            text = (kept := text.rstrip()) + mark + text[len(kept) :]
        if self._ends_one(text):
            text = text[: len(text) - len(kept := text.lstrip())] + mark + kept
        return text

    def _begins_one(self, text: str) -> bool:
        """Whether the text ends with the beginning of a special token."""
        tail = text.rstrip()[-self._longest :]
        starts = [at for at, character in enumerate(tail) if character in self._first]
        return any(tail[at:] in self._beginnings for at in starts)

    def _ends_one(self, text: str) -> bool:
        """Whether the text begins with the end of a special token."""
        head = text.lstrip()[: self._longest]
        return any(head[: at + 1] in self._ends for at in range(len(head)))


def _with_other_spellings(
    tokenizer: Tokenizer, new: dict[str, str]
) -> tuple[Tokenizer, dict[int, int]]:
    """A tokenizer that spells special tokens in another way, and what its ids mean.

    Its vocabulary is the same object in memory.
    """
    made = Tokenizer(tokenizer.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (value := getattr(tokenizer, part)) is not None:
            setattr(made, part, value)
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    spellings = [new.get(token.content, token.content) for _, token in added]
    made.add_tokens(
        [
            AddedToken(
                spelling,
                single_word=token.single_word,
                lstrip=token.lstrip,
                rstrip=token.rstrip,
                normalized=token.normalized and token.content not in new,
                special=token.special,
            )
            for spelling, (_, token) in zip(spellings, added, strict=True)
        ]
    )
    pairs = [(made.token_to_id(text), old) for text, (old, _) in zip(spellings, added, strict=True)]
    return made, {made_id: old for made_id, old in pairs if made_id is not None and made_id != old}


def _trie(texts: Iterable[str]) -> str:
    """A regular expression for the longest of these texts that stands at a place.

    Other than an alternation it does not become slower with their number.
    """
    nodes: dict[str, set[str]] = {}  # the characters that may follow a beginning
    whole = set(texts)
    for text in whole:
        for at in range(len(text)):
            nodes.setdefault(text[:at], set()).add(text[at])

    def after(beginning: str) -> str:
        ways = [re.escape(c) + after(beginning + c) for c in sorted(nodes.get(beginning, ()))]
        if not ways:
            return ""
        together = ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"
        return f"(?:{together})?" if beginning in whole else together

    return after("")
