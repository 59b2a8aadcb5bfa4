"""Continuous batching: every step plans, runs, samples and tells, for all sequences of a model."""

from __future__ import annotations

from collections import deque

from cupola.scheduler.messages import (
    Chat,
    ErrorCode,
    Output,
    SamplingParams,
    Text,
    Tokens,
    Work,
)
from cupola.workers.backend import RequestError
from cupola.workers.model_folder import ModelFolder
from cupola.workers.plan import plan
from cupola.workers.sampling import Sampler, sample
from cupola.workers.sequence import Sequence
from cupola.workers.session import DecoderSession, Row
from cupola.workers.slots import SlotTable
from cupola.workers.text import StopMatcher, TemplateError, TextCodec


class Engine:
    """A backend over a serving graph. See ``backend.Backend`` for the contract."""

    def __init__(
        self, folder: ModelFolder, codec: TextCodec, session: DecoderSession, budget: int
    ) -> None:
        """``budget``: tokens a step may hold, the session's width at most."""
        self._folder = folder
        self._codec = codec
        self._session = session
        self._budget = budget
        self._slots = SlotTable(session.cache.slots)
        self._waiting: deque[Sequence] = deque()
        self._running: dict[str, Sequence] = {}  # in order of arrival

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting)

    def add(self, request_id: str, work: Work) -> None:
        self._waiting.append(self._sequence(request_id, work))

    def abort(self, request_id: str) -> None:
        if sequence := self._running.pop(request_id, None):
            self._release(sequence)
        else:
            self._waiting = deque(s for s in self._waiting if s.request_id != request_id)

    def step(self) -> list[Output]:
        self._admit()
        steps = plan(self._running.values(), self._budget)
        if not steps:
            return []
        logits = self._session.run([_row(sequence, count) for sequence, count in steps])
        for sequence, count in steps:
            sequence.cached += count
        ready = [sequence for sequence, _ in steps if not sequence.pending]
        if not ready:
            return []
        tokens = sample(logits, [sequence.sampler for sequence in ready])
        outputs = [
            output
            for sequence, token in zip(ready, tokens.tolist(), strict=True)
            if (output := sequence.advance(token)) is not None
        ]
        for sequence in ready:
            if sequence.finish_reason is not None:
                del self._running[sequence.request_id]
                self._release(sequence)
        return outputs

    def _admit(self) -> None:
        while self._waiting and self._slots.free:
            sequence = self._waiting.popleft()
            sequence.slot = self._slots.take()
            self._running[sequence.request_id] = sequence

    def _release(self, sequence: Sequence) -> None:
        if sequence.slot is not None:
            self._slots.give_back(sequence.slot)
            sequence.slot = None

    def _sequence(self, request_id: str, work: Work) -> Sequence:
        tokens = self._tokens(work)
        params = work.sampling
        return Sequence(
            request_id=request_id,
            tokens=tokens,
            prompt_tokens=len(tokens),
            max_tokens=self._room(len(tokens), params),
            end_tokens=frozenset() if params.ignore_eos else self._folder.end_tokens,
            sampler=Sampler(params),
            detokenizer=self._codec.detokenizer(),
            stops=StopMatcher(params.stop),
        )

    def _tokens(self, work: Work) -> list[int]:
        try:
            match work.prompt:
                case Chat(messages):
                    tokens = self._codec.encode_chat(messages)
                case Text(text):
                    tokens = self._codec.encode(text)
                case Tokens(ids):
                    tokens = list(ids)
        except TemplateError as error:
            raise RequestError(ErrorCode.INVALID_REQUEST, str(error)) from error
        if not tokens:
            raise RequestError(ErrorCode.INVALID_REQUEST, "the prompt is empty")
        return tokens

    def _room(self, prompt: int, params: SamplingParams) -> int:
        """How many tokens may be generated behind a prompt of so many."""
        context = self._folder.context
        if prompt >= context:
            text = (
                f"the prompt has {prompt} tokens, but this model's context holds {context} tokens "
                "together with the answer; shorten the messages"
            )
            raise RequestError(ErrorCode.CONTEXT_LENGTH_EXCEEDED, text)
        if params.max_tokens is not None and prompt + params.max_tokens > context:
            text = (
                f"the prompt's {prompt} tokens and max_tokens {params.max_tokens} make "
                f"{prompt + params.max_tokens}, but this model's context holds {context} tokens; "
                f"ask for at most {context - prompt}"
            )
            raise RequestError(ErrorCode.CONTEXT_LENGTH_EXCEEDED, text)
        return params.max_tokens or context - prompt


def _row(sequence: Sequence, count: int) -> Row:
    assert sequence.slot is not None
    return Row(
        slot=sequence.slot,
        past=sequence.cached,
        tokens=sequence.tokens[sequence.cached : sequence.cached + count],
        wants_logits=count == sequence.pending,
    )
