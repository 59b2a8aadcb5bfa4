"""Speculation without a second model: guesses from what was read and written before. Pure.

Prompt lookup decoding: the last tokens are looked up in the prompt, the answer so far and the text
that the client predicts; what followed there is guessed to follow again. A guess is verified in the
same run that computes the next token anyway, and the token drawn decides: if it is the guess, the
draw after it is there already. So the distribution of the answer does not change at all.
"""

from __future__ import annotations

from collections.abc import Iterable

GRAM = 3  # tokens that must repeat
LONGEST = 8  # tokens guessed at most
LONGEST_PAUSE = 64  # steps without a guess after guesses that failed
_BREAK = -1  # between texts


class Drafter:
    """One sequence's guesses. Wide while they are right, rare while they are wrong."""

    def __init__(self, prediction: Iterable[int], prompt: Iterable[int]) -> None:
        self._text = [*prediction, _BREAK, *prompt]
        self._ends: dict[tuple[int, ...], int] = {}  # a gram -> where it ended last
        self._indexed = GRAM  # grams that end before this place are in the index
        self._width = 2
        self._pause = 0
        self._wait = 0
        self.accepted = 0
        self.rejected = 0

    def add(self, token: int) -> None:
        """The answer has one more token."""
        self._text.append(token)

    def guess(self, limit: int) -> tuple[int, ...]:
        """Tokens that may follow, at most ``limit``; mostly none."""
        if self._wait > 0:
            self._wait -= 1
            return ()
        self._index()
        end = self._ends.get(tuple(self._text[-GRAM:]))
        if end is None or limit <= 0:
            return ()
        found = self._text[end : end + min(limit, self._width)]
        return tuple(found[: found.index(_BREAK)] if _BREAK in found else found)

    def learn(self, guessed: int, right: int) -> None:
        """Of ``guessed`` tokens the first ``right`` were drawn."""
        self.accepted += right
        self.rejected += guessed - right
        if right == 0:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause + 1)
            self._wait = self._pause
            self._width = 2
        else:
            self._pause = 0
            self._width = min(LONGEST, max(2, 2 * right))

    def _index(self) -> None:
        """All grams but the one at the very end, which is what is looked up."""
        text = self._text
        for end in range(self._indexed, len(text)):
            self._ends[tuple(text[end - GRAM : end])] = end
        self._indexed = len(text)
