"""Makes the sequences that answer a request, when its prompt has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from math import nan

from msgspec import structs

from cupola.scheduler.protocol.messages import Turn
from cupola.scheduler.protocol.outputs import TokenLogprob
from cupola.scheduler.protocol.tasks import Chat, SamplingParams, Text, Tokens
from cupola.workers.decisions.prompt import DecisionPrompt
from cupola.workers.engine.answer import Answer
from cupola.workers.engine.fork import Decision, Fork
from cupola.workers.engine.prompt_reader import Accepted, Prompt
from cupola.workers.engine.sequence import Job, Reproducible, Sequence
from cupola.workers.grammar.constraints import Constraints, Grammar
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.text import StopMatcher, TextCodec
from cupola.workers.sampling.penalties import Penalties
from cupola.workers.sampling.sampling import Sampler
from cupola.workers.speculation.draft_history import DraftHistories
from cupola.workers.speculation.drafter import Drafter


class Admission:
    """Knows what a model's answers are made with: its ends, its advice, its grammars."""

    def __init__(
        self,
        folder: ModelFolder,
        codec: TextCodec,
        constraints: Constraints,
        wake: Callable[[], None],
        reproducible: Reproducible = "asked",
    ) -> None:
        """``wake`` is called from another thread when a grammar has been compiled.

        ``reproducible``: which requests must have the same answer again.
        """
        self._folder = folder
        self._codec = codec
        self._constraints = constraints
        self._wake = wake
        self._reproducible = reproducible
        self._histories = DraftHistories()

    def sequences(self, request_id: str, prompt: Accepted, turn: Turn) -> list[Answer] | list[Fork]:
        """One sequence for each answer of the request. Raises RequestError."""
        if isinstance(prompt, DecisionPrompt):
            decision = Decision.of(request_id, prompt, self._folder.end_tokens, turn)
            exact = self._reproducible != "no"
            return [Fork.first(decision, prompt, reproducible=exact)]
        work, grammar = prompt.work, None
        if work.constraint is not None:
            grammar = self._constraints.compile(work.constraint)
            grammar.add_done_callback(lambda _: self._wake())
        job = Job(
            request_id,
            len(prompt.tokens),
            open=work.answers,
            wants_timings=work.timings,
            wants_progress=work.progress,
            turn=turn,
        )
        return [self._sequence(job, index, prompt, grammar) for index in range(work.answers)]

    def abandon(self, sequences: Iterable[Sequence]) -> None:
        """A request has ended; these sequences of it were waiting."""
        answers = (sequence for sequence in sequences if isinstance(sequence, Answer))
        for grammar in {answer.grammar for answer in answers if answer.grammar is not None}:
            self._constraints.abandon(grammar)

    def rest(self) -> None:
        """Give back the memory of grammars that no request waits for."""
        self._constraints.rest()

    def _sequence(
        self,
        job: Job,
        index: int,
        prompt: Prompt,
        grammar: Future[Grammar] | None,
    ) -> Answer:
        work, tokens = prompt.work, prompt.tokens
        params = self._with_advice(work.sampling, free=grammar is None)
        # An advised penalty leaves out the prompt: its words may well be what is asked for.
        counted = () if work.sampling.repetition_penalty is None else tokens
        ends = frozenset(params.stop_token_ids)
        if not params.ignore_eos:
            ends |= self._folder.end_tokens
        logprobs = None
        if work.prompt_logprobs and index == 0:
            logprobs = [TokenLogprob(self._codec.token_bytes(tokens[0]), nan)]
        sampler = Sampler(params, index, Penalties(params, counted, ends))
        return Answer(
            job=job,
            index=index,
            tokens=list(tokens),
            max_tokens=prompt.room,
            end_tokens=ends,
            params=params,
            sampler=sampler,
            detokenizer=self._codec.detokenizer(
                keep_special=work.keep_special, continues=_continues(work.prompt)
            ),
            stops=StopMatcher(params.stop),
            cache_salt=work.cache_salt,
            reproducible=self._is_reproducible(sampler),
            prompt_logprobs=logprobs,
            grammar=grammar,
            drafter=self._drafter(prompt),
        )

    def _with_advice(self, params: SamplingParams, free: bool) -> SamplingParams:
        """Fill in what the client leaves open, as the model's makers advise.

        ``free``: no grammar constrains the answer. Where one does, there is no advised penalty:
        quotes, commas and names have to come again.
        """
        advised = self._folder.advised
        repetition = advised.repetition_penalty if free else None
        return structs.replace(
            params,
            temperature=_first(params.temperature, advised.temperature, 1.0),
            top_p=_first(params.top_p, advised.top_p, 1.0),
            top_k=_first(params.top_k, advised.top_k, 0),
            repetition_penalty=_first(params.repetition_penalty, repetition, 1.0),
        )

    def _is_reproducible(self, sampler: Sampler) -> bool:
        asked = sampler.greedy or sampler.params.seed is not None
        return self._reproducible == "always" or (asked and self._reproducible == "asked")

    def _drafter(self, prompt: Prompt) -> Drafter | None:
        if prompt.work.prompt_logprobs:
            return None
        history = self._histories.of(prompt.work.cache_salt)
        return Drafter(history, prompt.prediction, prompt.tokens)


def _continues(prompt: Chat | Text | Tokens) -> bool:
    """Whether the answer continues a text, and is not a turn of its own."""
    return not isinstance(prompt, Chat) or prompt.continue_last


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
