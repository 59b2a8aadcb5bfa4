"""Makes draft tokens for one sequence. Pure.

The last tokens are looked up in the prompt, in the answer so far and in the text that the client
predicts (prompt lookup decoding), and in recent answers to the tenant (after SuffixDecoding, arXiv
2411.04975). What followed where most of them stood, and followed most often, becomes the draft. The
run that computes the next token anyway verifies it: if the token that is sampled equals the draft
token, the logits of the token after it are there already. So the distribution of the answer does
not change at all.

The drafter learns from every token how often draft tokens of each source are right. It drafts only
tokens that are probable enough to be worth their part of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from cupola.workers.run.packing import MAX_DRAFT_TOKENS
from cupola.workers.speculation.draft import Draft
from cupola.workers.speculation.draft_history import FORCED, DraftHistory, Source
from cupola.workers.speculation.followers import Follower, Followers
from cupola.workers.speculation.suffix_index import BREAK, LONGEST, SuffixIndex

_FORCED_RATE = 0.9  # of forced tokens that are right, at first: others may spell the same text


class DraftGrammar(Protocol):
    """What an answer must follow, at its present end."""

    def forced(self) -> list[int]:
        """Tokens that spell what must come next."""
        ...

    def valid(self, tokens: list[int]) -> int:
        """How many of ``tokens``, from the first one on, may come next."""
        ...


class Drafter:
    """The drafts of one sequence."""

    def __init__(
        self, history: DraftHistory, prediction: Iterable[int], prompt: Iterable[int]
    ) -> None:
        """``history``: of the tenant; the answer becomes a part of it when it is closed."""
        self._history = history
        self._begin = [*prediction, BREAK, *prompt]
        self._answer: list[int] = []
        self._indexed = 0  # tokens of the answer that are in the index
        self._own: SuffixIndex | None = None  # made with the first draft
        # Tokens that may come next and their sources, also those that were not worth a draft.
        self._expected: list[tuple[int, Source]] = []

    def add(self, token: int) -> None:
        """The answer has one more token."""
        self._answer.append(token)
        if self._expected:
            expected, source = self._expected.pop(0)
            self._history.rates.learn(source, expected == token)
            if expected != token:
                self._expected.clear()

    def draft(self, limit: int, probability: float, grammar: DraftGrammar | None = None) -> Draft:
        """At most ``limit`` tokens, all of which together have at least this ``probability``.

        ``grammar``: of the answer. What it forces comes first, and what it forbids is left out.
        """
        self._expected.clear()
        if limit <= 0:
            return Draft()
        probable = self._probable(min(limit, MAX_DRAFT_TOKENS), probability, grammar)
        tokens, joint = [token for token, _ in probable], [each for _, each in probable]
        valid = grammar.valid(tokens) if grammar is not None and tokens else len(tokens)
        if valid < len(tokens):
            del tokens[valid:], joint[valid:], self._expected[valid:]
        return Draft(tuple(tokens), sum(joint))

    def _probable(
        self, limit: int, probability: float, grammar: DraftGrammar | None
    ) -> list[tuple[int, float]]:
        """Tokens that may come next, with the probability that they and all before are right."""
        found: list[tuple[int, float]] = []
        joint = 1.0
        for token, source, share in self._candidates(grammar):
            if len(found) == limit:
                break
            self._expected.append((token, source))
            joint *= self._history.rates.rate(source, share)
            if joint < probability:
                break
            found.append((token, joint))
        return found

    def _candidates(self, grammar: DraftGrammar | None) -> Iterator[Follower]:
        """The likeliest next tokens, one after the other."""
        forced = grammar.forced() if grammar is not None else []
        for token in forced:
            yield Follower(token, FORCED, _FORCED_RATE)
        own = self._index()
        end = [*own.text[-LONGEST:], *forced]
        followers = Followers(own.occurrences(end), self._history.occurrences(end))
        while (best := followers.best()) is not None:
            yield best
            followers.follow(best.token)

    def close(self) -> None:
        """The answer has ended; later answers may learn from it."""
        self._history.add(self._answer)

    def _index(self) -> SuffixIndex:
        """The index of this sequence, with all of its text."""
        if self._own is None:
            self._own = SuffixIndex()
            self._own.extend(self._begin)
        self._own.extend(self._answer[self._indexed :])
        self._indexed = len(self._answer)
        return self._own
