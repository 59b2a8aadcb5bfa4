"""Makes draft tokens for one sequence. Pure.

The last tokens are looked up in the prompt, in the answer so far and in the text that the client
predicts (prompt lookup decoding), and in earlier answers (as in SuffixDecoding, arXiv 2411.04975).
What followed there becomes the draft. The run that computes the next token anyway verifies it: if
the token that is sampled equals the draft token, the logits of the token after it are there
already. So the distribution of the answer does not change at all.

The drafter learns from every token how often draft tokens of each source are right. It drafts only
tokens that are probable enough to be worth their part of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cupola.workers.run.packing import MAX_DRAFT_TOKENS
from cupola.workers.speculation.draft import Draft
from cupola.workers.speculation.draft_history import DraftHistory, Source
from cupola.workers.speculation.ngrams import Follower, NgramTable

_OWN_GRAMS = (8, 4, 2, 1)  # tokens that must repeat
_MAX_PLACES = 2**17
_ANSWER = 512  # tokens that the table of a sequence has room for besides prompt and prediction
_BREAK = -1  # between texts


class Drafter:
    """The drafts of one sequence."""

    def __init__(
        self, history: DraftHistory, prediction: Iterable[int], prompt: Iterable[int]
    ) -> None:
        """``history``: of the tenant; the answer becomes a part of it when it is closed."""
        self._history = history
        self._text = [*prediction, _BREAK, *prompt]
        self._answer_at = len(self._text)
        self._indexed = 0  # tokens that are in the table
        self._own: NgramTable | None = None
        # Tokens that may come next and their sources, also those that were not worth a draft.
        self._expected: list[tuple[int, Source]] = []

    def add(self, token: int) -> None:
        """The answer has one more token."""
        self._text.append(token)
        if self._expected:
            expected, source = self._expected.pop(0)
            self._history.rates.learn(source, expected == token)
            if expected != token:
                self._expected.clear()

    def draft(self, limit: int, probability: float) -> Draft:
        """At most ``limit`` tokens, all of which together have at least this ``probability``."""
        self._expected.clear()
        if limit <= 0:
            return Draft()
        own = self._index()
        last = self._text[-max(*_OWN_GRAMS, *self._history.earlier.lengths) :]
        tokens: list[int] = []
        joint, right = 1.0, 0.0
        while len(tokens) < min(limit, MAX_DRAFT_TOKENS):
            best = max(self._candidates(own, last), default=None)
            if best is None or best[1] == _BREAK:
                break
            rate, token, source = best
            self._expected.append((token, source))
            joint *= rate
            if joint < probability:
                break
            tokens.append(token)
            right += joint
            last = [*last[1:], token]
        return Draft(tuple(tokens), right)

    def close(self) -> None:
        """The answer has ended; later answers may learn from it."""
        self._history.earlier.learn(self._text, self._answer_at, len(self._text))

    def _candidates(self, own: NgramTable, last: list[int]) -> Iterator[tuple[float, int, Source]]:
        for table in (own, self._history.earlier):
            for length in table.lengths:
                if (found := table.find(last[-length:])) is not None:
                    source = _source(table is own, length, found)
                    assumed = found.times / (found.seen + 1)
                    yield self._history.rates.rate(source, assumed), found.token, source

    def _index(self) -> NgramTable:
        """The table of this sequence, with all of its text."""
        if self._own is None:
            grams = len(_OWN_GRAMS) * (len(self._text) + _ANSWER)
            places = 1 << (2 * grams).bit_length()  # 2 to 4 for each n-gram, so that few collide
            self._own = NgramTable(_OWN_GRAMS, min(_MAX_PLACES, places))
        self._own.learn(self._text, self._indexed, len(self._text))
        self._indexed = len(self._text)
        return self._own


def _source(own: bool, length: int, found: Follower) -> Source:
    return own, length, min(found.times, 3), min(found.seen - found.times, 2)
