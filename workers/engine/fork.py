"""A sequence that reads questions behind a shared prompt, one after the other, and scores them.

A fork goes from one text to the next by giving up the tokens in which they differ. So the prompt is
read once, and a question's options share the question. More forks of the same prompt make runs
wider. They use slots for which nobody waits, and leave when somebody does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.messages import ANY_TURN, Turn
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.workers.decisions.asked import Asked, scores
from cupola.workers.decisions.prompt import DecisionPrompt
from cupola.workers.decisions.trie import Path
from cupola.workers.engine.sequence import Job, Sequence
from cupola.workers.slots.slot_table import common_prefix

MOST_FORKS = 16  # of one request: sixteen questions of 12 tokens take a sixth less than twice eight
_FEWEST_PATHS = 4  # of a question's options, for which it is read once more in another slot

Unit = tuple[Asked, Several[Path]]  # what one fork reads before it may leave


@dataclass(slots=True, kw_only=True)
class Decision(Job):
    """A request for decisions. ``prompt_tokens``: those that the questions share."""

    ends: tuple[int, ...]  # tokens that end a turn of the model
    units: deque[Unit]  # that no fork has taken yet
    open_questions: dict[int, list[Asked]]  # in all their orders, by index
    question_tokens: int

    @property
    def usage(self) -> Usage:
        prompt = self.prompt_tokens + self.question_tokens
        return Usage(prompt, 0, self.cached_tokens or 0)

    @classmethod
    def of(
        cls, request_id: str, prompt: DecisionPrompt, ends: Iterable[int], turn: Turn = ANY_TURN
    ) -> Decision:
        questions: dict[int, list[Asked]] = {}
        for asked in prompt.asked:
            questions.setdefault(asked.index, []).append(asked)
        parts = MOST_FORKS // len(prompt.asked)
        # A fork goes on from what the next question has in common with the one before it.
        alike = sorted(prompt.asked, key=lambda asked: asked.tokens)
        return cls(
            request_id,
            len(prompt.tokens),
            open=0,
            turn=turn,
            ends=tuple(ends),
            units=deque(unit for asked in alike for unit in _units(asked, parts)),
            open_questions=questions,
            question_tokens=sum(len(asked.tokens) for asked in prompt.asked),
        )


@dataclass(slots=True, eq=False, kw_only=True)
class Fork(Sequence):
    """``tokens``: the prompt, a question, and a path down its options."""

    job: Decision
    kept: int = field(default=0, init=False)  # cached tokens that the last ``advance`` left
    _asked: Asked = field(init=False)
    _path: Path = field(init=False)
    _paths: deque[Path] = field(init=False)

    @classmethod
    def first(cls, job: Decision, prompt: DecisionPrompt, *, reproducible: bool) -> Fork:
        return cls(
            job=job,
            index=0,
            tokens=list(prompt.tokens),
            max_tokens=prompt.longest,
            cache_salt=prompt.work.cache_salt,
            reproducible=reproducible,
        )

    def another(self) -> Fork:
        """A fork of the same prompt."""
        return Fork(
            job=self.job,
            index=0,
            tokens=self.tokens[: self.job.prompt_tokens],
            max_tokens=self.max_tokens,
            cache_salt=self.cache_salt,
            reproducible=self.reproducible,
            long=self.long,
        )

    def __post_init__(self) -> None:
        self.job.open += 1
        self._take(self.job.units.popleft())

    def outgrows(self, short: int) -> bool:
        """All questions of a request are read alike, so that their order does not matter."""
        return not self.long and self.job.prompt_tokens + self.max_tokens > short

    @property
    def generates(self) -> bool:
        """Its tokens may wait for their turn."""
        return False

    @property
    def patient(self) -> bool:
        return True

    @property
    def copied(self) -> int:
        return self.job.prompt_tokens

    @property
    def scored(self) -> int:
        return len(self.tokens) - self._first_wanted

    def wanted_logits(self, count: int, draft: int) -> int:
        return max(0, self.cached + count - max(self.cached, self._first_wanted))

    def add_logits(self, logits: NDArray[np.float32]) -> None:
        """The wanted logits of a run, before the run is recorded."""
        first = max(self.cached, self._first_wanted)
        for place, row in enumerate(logits, first - self._root):
            if not self._asked.add(self._path, place, row, self.job.ends):
                self.broken = "the model's logits are not numbers"

    def advance(self, others: Collection[str]) -> Output | None:
        """All tokens have been run: go on with the next ones, or finish.

        ``others``: the requests that wait for slots. Returns what is known now.
        """
        self.kept = self.cached
        if self.broken is not None:
            return None
        if self._paths:
            self._follow(self._paths.popleft())
            return None
        job, asked = self.job, self._asked
        is_alone = job.open == 1
        leaves = not is_alone and any(other != job.request_id for other in others)
        if leaves or not job.units:
            self.finish_reason = FinishReason.STOP
            job.open -= 1
            if is_alone:  # the next request about this prompt goes on behind it, in place
                self.kept = min(self.cached, job.prompt_tokens)
        else:
            self._take(job.units.popleft())
        orders = job.open_questions.get(asked.index, [])
        if not orders or not all(each.complete for each in orders):
            return None
        del job.open_questions[asked.index]
        return Output(
            job.request_id,
            index=asked.index,
            scores=scores(orders),
            usage=None if job.open_questions else job.usage,
            prompt_usage=job.take_prompt_usage(),
        )

    def _take(self, unit: Unit) -> None:
        self._asked, paths = unit
        self._paths = deque(paths)
        self._follow(self._paths.popleft())

    def _follow(self, path: Path) -> None:
        """Put the tokens of the question and the path in the place of what followed the prompt."""
        self._path = path
        prompt = self.job.prompt_tokens
        behind = [*self._asked.tokens, *path.tokens]
        before = self.tokens[prompt:]
        common = prompt + common_prefix(before, behind, min(len(before), len(behind)))
        self.tokens[prompt:] = behind  # in place: the slot has the same list
        self.kept = min(self.cached, common, self._first_wanted)

    @property
    def _root(self) -> int:
        """Where the answer begins."""
        return self.job.prompt_tokens + len(self._asked.tokens)

    @property
    def _first_wanted(self) -> int:
        """The first token whose logits are wanted. Those before it may come from the cache."""
        return self._root - 1 + self._path.known


def _units(asked: Asked, parts: int) -> list[Unit]:
    """The paths of a question, in at most so many parts."""
    paths = asked.trie.paths
    size = ceil(len(paths) / max(1, min(parts, len(paths) // _FEWEST_PATHS)))
    return [(asked, paths[start : start + size]) for start in range(0, len(paths), size)]


def more_forks(
    running: Iterable[Sequence], free: int, room: int, has_room: Callable[[Fork], bool]
) -> Iterator[Fork]:
    """Forks that help those that run, in at most so many slots. The requests take turns.

    ``room``: tokens of the next run. What would only wait for its turn there takes no slot.
    ``has_room``: whether there is memory for one more fork like this one.
    """
    sequences = list(running)
    room -= sum(sequence.pending for sequence in sequences)
    forks = {fork.job.request_id: fork for fork in sequences if isinstance(fork, Fork)}
    waiting = deque(fork for fork in forks.values() if not fork.reading)
    while waiting and free > 0 and room > 0:
        fork = waiting.popleft()
        if fork.job.units and fork.job.open < MOST_FORKS and has_room(fork):
            another = fork.another()
            yield another
            free -= 1
            room -= another.generated
            waiting.append(fork)
