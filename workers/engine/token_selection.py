"""From the logits of a run to the next tokens of its sequences, and to their outputs."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from cupola.scheduler.protocol.outputs import Output
from cupola.workers.engine.answer import Answer
from cupola.workers.engine.fork import Fork
from cupola.workers.engine.rows import wanted_logits
from cupola.workers.engine.sequence import Sequence
from cupola.workers.engine.slot_allocation import SlotAllocator
from cupola.workers.planning.plan import Step
from cupola.workers.sampling.logprobs import TokenBytes, logprob
from cupola.workers.sampling.masks import MaskBatch
from cupola.workers.sampling.sampling import NOTHING, penalize, sample

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]


class TokenSelection:
    """Selects tokens. A failure of one sequence is noted in its ``broken``."""

    def __init__(self, masks: MaskBatch, slots: SlotAllocator, token_bytes: TokenBytes) -> None:
        self._masks = masks
        self._slots = slots
        self._token_bytes = token_bytes

    def begin(self, steps: list[Step[Sequence]]) -> None:
        """These steps are about to be run."""
        completing = [step.sequence for step in steps if step.completes]
        self._masks.begin([each.matcher for each in completing if isinstance(each, Answer)])

    def select(
        self, steps: list[Step[Sequence]], logits: Logits, waiting: Collection[str]
    ) -> list[Output]:
        """Give each sequence whose step completes its next tokens, and record what is cached now.

        ``logits``: ``[R, vocabulary]``, in order of ``steps``; they are changed. ``waiting``: the
        requests that wait for slots.
        """
        ready: list[Answer] = []
        places: list[int] = []  # of the logits of each one's next token
        drafts: dict[Answer, tuple[int, ...]] = {}
        forks: list[Fork] = []
        place = 0
        for step in steps:
            sequence, wanted = step.sequence, wanted_logits(step)
            if isinstance(sequence, Fork):
                sequence.add_logits(logits[place : place + wanted])
                forks += [sequence] * step.completes
            elif isinstance(sequence, Answer):
                if sequence.prompt_logprobs is not None and wanted:
                    self._add_prompt_logprobs(sequence, logits[place : place + wanted])
                if step.completes:
                    ready.append(sequence)
                    places.append(place + wanted - 1 - len(step.draft))
                if step.draft:
                    drafts[sequence] = step.draft
            place += wanted
            self._slots.record_run(step)
        for sequence, draft in drafts.items():
            sequence.job.drafted_tokens += len(draft)
        outputs = self._sample(ready, places, logits)
        # Each draft token that is right gives its sequence one more token.
        for depth in range(max(map(len, drafts.values()), default=0)):
            right = [
                (sequence, place + depth + 1)
                for sequence, place in zip(ready, places, strict=True)
                if sequence.accepts(drafts.get(sequence, ()), depth)
            ]
            if not right:
                break
            sequences, following = zip(*right, strict=True)
            self._masks.begin([sequence.matcher for sequence in sequences])
            outputs += self._sample(list(sequences), list(following), logits)
        for sequence, draft in drafts.items():
            self._slots.record_accepted(sequence, sequence.accepted(draft))
        for fork in forks:
            if (output := fork.advance(waiting)) is not None:
                outputs.append(output)
            self._slots.shorten(fork, fork.kept)
        return outputs

    def _sample(self, sequences: list[Answer], places: list[int], logits: Logits) -> list[Output]:
        """One more token for each of ``sequences``, from its row of the logits."""
        if not sequences:
            return []
        whole = len(places) == len(logits)
        with_logprobs = any(sequence.params.logprobs is not None for sequence in sequences)
        # Penalties and masks write into the rows. Log-probabilities need the model's own logits.
        rows = logits if whole and not with_logprobs else logits[places]
        samplers = [sequence.sampler for sequence in sequences]
        penalize(rows, samplers)
        self._masks.apply(rows)
        tokens = sample(rows, samplers).tolist()
        outputs = []
        for sequence, place, token in zip(sequences, places, tokens, strict=True):
            if token == NOTHING:
                sequence.broken = "the model's logits are not numbers"
                continue
            try:
                output = self._advance(sequence, token, logits[place])
            except Exception:  # a failure of its text or grammar must not harm the others
                logger.exception("%s: a token could not be added", sequence.job.request_id)
                sequence.broken = "the worker could not go on with this answer"
                continue
            if output is not None:
                outputs.append(output)
        return outputs

    def _advance(self, sequence: Answer, token: int, row: NDArray[np.float32]) -> Output | None:
        best, entry = sequence.params.logprobs, None
        if best is not None:
            entry = logprob(row, token, best, self._token_bytes)
        return sequence.advance(token, entry)

    def _add_prompt_logprobs(self, sequence: Answer, rows: Logits) -> None:
        assert sequence.slot is not None and sequence.prompt_logprobs is not None
        begin = sequence.slot.length + 1  # the logits of a token are about the one behind it
        following = sequence.tokens[begin : min(begin + len(rows), sequence.job.prompt_tokens)]
        best = sequence.params.logprobs or 0
        # By position, so that a prompt that is read again after a preemption adds none twice.
        sequence.prompt_logprobs[begin:] = [
            logprob(row, token, best, self._token_bytes)
            for row, token in zip(rows, following, strict=False)
        ]
