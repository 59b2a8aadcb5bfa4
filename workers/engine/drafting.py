"""Speculation without a second model: guesses from what was read and written before. Pure.

The last tokens are looked up in the prompt, the answer so far and the text that the client predicts
(prompt lookup decoding), and in earlier answers (as SuffixDecoding does, arXiv 2411.04975); what
followed there is guessed to follow again. A guess is verified in the same run that computes the
next token anyway, and the token drawn decides: if it is the guess, the draw after it is there
already. So the distribution of the answer does not change at all.

How often guesses of each kind are right is learnt from the tokens that come, guessed or not, and a
guess is made only where it is likely enough to be worth its part of a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from cupola.workers.engine.ngrams import Followed, NgramTable
from cupola.workers.run.packing import MAX_DRAFT_TOKENS

# What one more token costs of a run that makes one token of one sequence: measured 0.05 to 0.2.
TOKEN_COST = 0.13
_MARGIN = 1.2  # how much more than it costs a guess must bring, for the odds are estimates
_OWN_GRAMS = (8, 4, 2, 1)  # tokens that must repeat
_EARLIER_GRAMS = (3, 2, 1)
_EARLIER_PLACES = 2**17  # 2 MB
_MOST_PLACES = 2**17
_ANSWER = 512  # tokens for which the table of a sequence has room besides those of its texts
_BREAK = -1  # between texts

_Kind = tuple[bool, int, int, int]  # of a guess: what may say how often such guesses are right


def worth(sequences: int) -> float:
    """How likely a guess must be when so many sequences generate.

    It must bring tokens faster than a run does without it.
    """
    return _MARGIN * TOKEN_COST * sequences / _run(sequences)


def pays(sequences: int, guesses: Collection[Guess], copied: float) -> bool:
    """Whether a run of so many sequences is to verify ``guesses``.

    ``copied``: what has to be copied for it, in times of what a run reads anyway.
    """
    tokens = sum(len(guess.tokens) for guess in guesses)
    right = sum(guess.right for guess in guesses)
    return right * _run(sequences) >= _MARGIN * (TOKEN_COST * tokens + copied) * sequences


def _run(tokens: int) -> float:
    """What a run of so many tokens takes, in times of one with a single token."""
    return 1 + TOKEN_COST * (tokens - 1)


class Guess(NamedTuple):
    tokens: tuple[int, ...] = ()
    right: float = 0.0  # how many of them are expected to be right


class Odds:
    """How often guesses of each kind have been right lately."""

    _WEIGHT = 8.0  # of the share that is assumed at first, in guesses
    _KEPT = 0.99  # of what is known, with each guess of the kind

    def __init__(self) -> None:
        self._known: defaultdict[_Kind, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def of(self, kind: _Kind, assumed: float) -> float:
        right, all_ = self._known[kind]
        return (right + self._WEIGHT * assumed) / (all_ + self._WEIGHT)

    def learn(self, kind: _Kind, right: bool) -> None:
        before, all_ = self._known[kind]
        self._known[kind] = self._KEPT * before + right, self._KEPT * all_ + 1


class Memory:
    """What the answers of a tenant have in common."""

    def __init__(self) -> None:
        self.earlier = NgramTable(_EARLIER_GRAMS, _EARLIER_PLACES)
        self.odds = Odds()


class Memories:
    """Of the tenants that were here last."""

    _MOST = 8

    def __init__(self) -> None:
        self._of: dict[str, Memory] = {}  # by cache salt; who was not here for longest is the first

    def of(self, salt: str) -> Memory:
        memory = self._of.pop(salt, None) or Memory()
        self._of[salt] = memory
        if len(self._of) > self._MOST:
            del self._of[next(iter(self._of))]
        return memory


class Drafter:
    """One sequence's guesses."""

    def __init__(self, memory: Memory, prediction: Iterable[int], prompt: Iterable[int]) -> None:
        self._memory = memory
        self._text = [*prediction, _BREAK, *prompt]
        self._begin = len(self._text)  # of the answer
        self._indexed = 0  # tokens that are in the table
        self._own: NgramTable | None = None
        # Tokens thought to come next, and of which kind each guess is; told of them or not.
        self._expected: list[tuple[int, _Kind]] = []

    def add(self, token: int) -> None:
        """The answer has one more token."""
        self._text.append(token)
        if self._expected:
            expected, kind = self._expected.pop(0)
            self._memory.odds.learn(kind, expected == token)
            if expected != token:
                self._expected.clear()

    def guess(self, limit: int, likely: float) -> Guess:
        """Tokens that may follow, at most ``limit``, all of them at least so ``likely``."""
        self._expected.clear()
        if limit <= 0:
            return Guess()
        own = self._index()
        last = self._text[-max(*_OWN_GRAMS, *_EARLIER_GRAMS) :]
        guessed: list[int] = []
        likelihood, right = 1.0, 0.0
        while len(guessed) < min(limit, MAX_DRAFT_TOKENS):
            best = max(self._candidates(own, last), default=None)
            if best is None or best[1] == _BREAK:
                break
            share, token, kind = best
            self._expected.append((token, kind))
            likelihood *= share
            if likelihood < likely:
                break
            guessed.append(token)
            right += likelihood
            last = [*last[1:], token]
        return Guess(tuple(guessed), right)

    def close(self) -> None:
        """The answer is over; others may learn from it."""
        self._memory.earlier.learn(self._text, self._begin, len(self._text))

    def _candidates(self, own: NgramTable, last: list[int]) -> Iterator[tuple[float, int, _Kind]]:
        for table in (own, self._memory.earlier):
            for length in table.lengths:
                if (found := table.find(last[-length:])) is not None:
                    kind = _kind(table is own, length, found)
                    assumed = found.times / (found.seen + 1)
                    yield self._memory.odds.of(kind, assumed), found.token, kind

    def _index(self) -> NgramTable:
        """The table of this sequence, with all of its text."""
        if self._own is None:
            grams = len(_OWN_GRAMS) * (len(self._text) + _ANSWER)
            places = 1 << (2 * grams).bit_length()  # 2 to 4 a gram, so that few share one
            self._own = NgramTable(_OWN_GRAMS, min(_MOST_PLACES, places))
        self._own.learn(self._text, self._indexed, len(self._text))
        self._indexed = len(self._text)
        return self._own


def _kind(own: bool, length: int, found: Followed) -> _Kind:
    return own, length, min(found.times, 3), min(found.seen - found.times, 2)
