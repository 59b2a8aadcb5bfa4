"""Constraints on answers: compiled once, beside the model's steps, and followed token by token.

    grammar = constraints.compile(work.constraint)   # a future: compiling may take seconds
    matcher = grammar.result().matcher()             # one for each answer
    matcher.accept(token)                            # then ``matcher.complete``, ``.failure``

``masks.MaskBatch`` computes the masks of a step.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from llguidance import LLMatcher

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.grammar import Vocabulary, check_size, compile_constraint
from cupola.workers.grammar.grammar_probe import GrammarProbe

MAX_GRAMMARS = 64  # kept compiled
LATE = "the answer's grammar has become too complex to follow"


class Matcher:
    """The place of one answer in its grammar. It is used from one thread at a time."""

    def __init__(self, state: LLMatcher) -> None:
        self.state = state
        self.failure: str | None = None  # why the answer cannot go on

    def accept(self, token: int) -> None:
        """The answer has one more token. Afterwards look at ``failure`` and ``complete``."""
        if not self.state.consume_token(token):
            self.fail(LATE)

    def forced(self) -> list[int]:
        """Tokens that spell what must come next. The model may spell it with other tokens."""
        return [] if self.failure is not None else self.state.compute_ff_tokens()

    def valid(self, tokens: list[int]) -> int:
        """How many of ``tokens``, from the first one on, may come next."""
        return 0 if self.failure is not None else self.state.validate_tokens(tokens)

    @property
    def complete(self) -> bool:
        """Whether the grammar is fulfilled and only an end token may follow."""
        return self.failure is None and self.state.is_stopped()

    @property
    def fulfilled(self) -> bool:
        """Whether the answer may end here."""
        return self.failure is None and self.state.is_accepting()

    def fail(self, reason: str) -> None:
        """Set ``failure``, unless it is set already."""
        self.failure = self.failure or reason


class Grammar:
    """A compiled constraint."""

    def __init__(self, beginning: LLMatcher) -> None:
        self._beginning = beginning

    def matcher(self) -> Matcher:
        """A new matcher at the beginning. It takes microseconds, and shares the others' work."""
        return Matcher(self._beginning.deep_copy())


@dataclass(slots=True)
class _Waiters:
    """The requests that wait for a grammar."""

    count: int = 0
    gone: threading.Event = field(default_factory=threading.Event)  # there are none any more


class Constraints:
    """The grammars of one model. ``compile`` returns at once, and a thread does the work."""

    def __init__(self, tokenizer: Path, size: int, ends: Collection[int]) -> None:
        """``tokenizer``: the JSON file. ``size``: columns of the logits. ``ends``: end tokens."""
        self._tokenizer = tokenizer
        self._size = size
        self._ends = ends
        self._probe = GrammarProbe(tokenizer, size, ends)
        self._vocabulary: Vocabulary | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammars")
        self._compiled: OrderedDict[tuple[ConstraintKind, str], Future[Grammar]] = OrderedDict()
        self._unfinished: dict[Future[Grammar], _Waiters] = {}

    def compile(self, constraint: Constraint) -> Future[Grammar]:
        """The grammar, later; the future may raise RequestError.

        Raises RequestError at once if the constraint is too large. If the request ends before the
        future does, call ``abandon``.
        """
        key = (constraint.kind, constraint.source)
        future = self._compiled.get(key)
        if future is not None:
            self._compiled.move_to_end(key)
        else:
            check_size(constraint)
            waiters = _Waiters()
            future = self._thread.submit(self._build, constraint, waiters.gone.is_set)
            self._compiled[key], self._unfinished[future] = future, waiters
            if len(self._compiled) > MAX_GRAMMARS:
                self._compiled.popitem(last=False)
        if future in self._unfinished:
            self._unfinished[future].count += 1
        return future

    def abandon(self, future: Future[Grammar]) -> None:
        """One request less waits for the grammar. If it was the last, the work on it ends."""
        self._unfinished = {f: w for f, w in self._unfinished.items() if not f.done()}
        if (waiters := self._unfinished.get(future)) is None:
            return
        waiters.count -= 1
        if waiters.count > 0:
            return
        del self._unfinished[future]
        self._compiled = OrderedDict((k, f) for k, f in self._compiled.items() if f is not future)
        waiters.gone.set()
        if not future.cancel():
            self._probe.stop()

    def rest(self) -> None:
        """Forget the grammars that are compiled, and end the process that tries them."""
        self._compiled = OrderedDict((k, f) for k, f in self._compiled.items() if not f.done())
        self._thread.submit(self._probe.close)

    def close(self) -> None:
        """End the thread and the process that tries grammars."""
        self._thread.shutdown()
        self._probe.close()

    def _build(self, constraint: Constraint, gone: Callable[[], bool]) -> Grammar:
        self._probe.check(constraint, gone)
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self._tokenizer, self._size, self._ends)
        beginning = compile_constraint(constraint, self._vocabulary)
        # The first mask takes longer than the others, and all matchers share its work.
        mask = np.zeros(self._vocabulary.words, np.int32)
        beginning.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        return Grammar(beginning)
