"""Turns a request into the sequences that answer it, or refuses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from math import nan

from msgspec import structs

from cupola.scheduler.protocol.messages import ErrorCode, Turn
from cupola.scheduler.protocol.outputs import TokenLogprob
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    Embed,
    Question,
    SamplingParams,
    Text,
    Tokens,
    Work,
)
from cupola.workers.decisions.prompt import DecisionPrompt
from cupola.workers.decisions.prompt import read as read_decide
from cupola.workers.engine.answer import Answer
from cupola.workers.engine.fork import Decision, Fork
from cupola.workers.engine.sequence import Job, Reproducible, Sequence
from cupola.workers.grammar.constraints import Constraints, Grammar
from cupola.workers.model.backend import RequestError
from cupola.workers.model.conversion import is_small, render
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.render_budget import (
    BudgetSpentError,
    RenderBudget,
    full_budget,
    small_budget,
)
from cupola.workers.model.text import StopMatcher, TextCodec
from cupola.workers.model.text_jobs import SMALL_CHARACTERS, Cancelled
from cupola.workers.sampling.penalties import Penalties
from cupola.workers.sampling.sampling import Sampler
from cupola.workers.speculation.draft_history import DraftHistories
from cupola.workers.speculation.drafter import Drafter

# Of a prediction, so many characters are read for each token that the answer may have.
_CHARACTERS_PER_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request, and what was read of its texts."""

    work: Work
    tokens: list[int]
    room: int  # how many tokens may follow
    prediction: list[int]  # tokens


Accepted = Prompt | DecisionPrompt


def check_kind(work: Work | Embed | Decide, scores_prompts: bool) -> Work | Decide:
    """Refuse what no decoder can do. Raises RequestError.

    ``scores_prompts``: the model can give the logits of several tokens in one run.
    """
    if isinstance(work, Embed):
        text = "this model generates text; for embeddings use a model whose task they are"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
    if isinstance(work, Decide) and not scores_prompts:
        text = "this model's graph cannot score options; use a model that runs in batches"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
    if isinstance(work, Work) and work.prompt_logprobs and not scores_prompts:
        text = "this model cannot tell the log-probabilities of a prompt; leave 'echo' out"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "prompt_logprobs")
    return work


class Admission:
    """Knows which requests a model can serve."""

    def __init__(
        self,
        folder: ModelFolder,
        codec: TextCodec,
        vocabulary: int,
        constraints: Constraints,
        wake: Callable[[], None],
        reproducible: Reproducible = "asked",
    ) -> None:
        """``wake`` is called from another thread when a grammar has been compiled.

        ``reproducible``: which requests must have the same answer again.
        """
        self._folder = folder
        self._codec = codec
        self._vocabulary = vocabulary
        self._constraints = constraints
        self._wake = wake
        self._reproducible = reproducible
        self._histories = DraftHistories()

    def read_small(self, work: Work | Decide) -> Accepted | None:
        """The prompt; None: to read it takes too long here. Raises RequestError."""
        if isinstance(work, Work):
            self._check_bias(work.sampling)
        try:
            return self._read(work, small_budget()) if _is_small(work) else None
        except BudgetSpentError:
            return None

    def read(self, work: Work | Decide, cancelled: Cancelled) -> Accepted:
        """The prompt, however large. It may be called from any thread. Raises RequestError."""
        return self._read(work, full_budget(cancelled), cancelled)

    def _read(
        self, work: Work | Decide, budget: RenderBudget, cancelled: Cancelled = lambda: False
    ) -> Accepted:
        if isinstance(work, Decide):
            return read_decide(self._codec, work, budget, self._folder.context, cancelled)
        tokens = self._tokens(work, budget)
        self._check_length(len(tokens))
        room = self._folder.context - len(tokens)
        room = min(work.sampling.max_tokens or room, room)
        prediction: list[int] = []
        if work.prediction and not work.prompt_logprobs:
            # The answer is no longer than its room, and so is what it can repeat.
            text = work.prediction[: room * _CHARACTERS_PER_TOKEN]
            prediction = self._codec.encode(text, add_special=False)[:room]
        return Prompt(work, tokens, room, prediction)

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

    def _tokens(self, work: Work, budget: RenderBudget) -> list[int]:
        match work.prompt:
            case Chat():
                rendered = render(self._codec, work.prompt, budget)
                self._check_length(self._codec.fewest_tokens(rendered.text), "at least ")
                tokens = self._codec.encode_rendered(rendered)
            case Text(text, parse):
                self._check_length(self._codec.fewest_tokens(text), "at least ")
                tokens = self._codec.encode(text, parse_special=parse)
            case Tokens(ids):
                tokens = list(ids)
        if not tokens:
            raise RequestError(ErrorCode.INVALID_REQUEST, "the prompt is empty", "prompt")
        if not all(0 <= token < self._vocabulary for token in tokens):
            text = f"the prompt has token ids outside the vocabulary of {self._vocabulary}"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "prompt")
        return tokens

    def _check_bias(self, params: SamplingParams) -> None:
        """Refuse a bias for a token that the model does not have: it was meant for another one."""
        unknown = [token for token in params.logit_bias if token >= self._vocabulary]
        if unknown:
            text = f"the highest token is {self._vocabulary - 1}, but logit_bias has {unknown[0]}"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "logit_bias")

    def _check_length(self, prompt: int, qualifier: str = "") -> None:
        context = self._folder.context
        if prompt >= context:
            text = (
                f"the prompt has {qualifier}{prompt} tokens, but this model's context holds "
                f"{context} tokens together with the answer; shorten the messages"
            )
            raise RequestError(ErrorCode.CONTEXT_LENGTH_EXCEEDED, text, "prompt")


def _is_small(work: Work | Decide) -> bool:
    """Whether its texts can be read between two steps of the model."""
    if isinstance(work, Decide):
        asked = sum(map(_size, work.questions)) * work.permutations
        return is_small(work.prompt) and asked <= SMALL_CHARACTERS
    small = len(work.prediction) <= SMALL_CHARACTERS
    match work.prompt:
        case Chat():
            small &= is_small(work.prompt)
        case Text(text):
            small &= len(text) <= SMALL_CHARACTERS
    return small


def _size(question: Question) -> int:
    """Characters, and some for each option."""
    options = (len(option.text) + len(option.description) + 16 for option in question.options)
    return len(question.instructions) + 64 + sum(options)


def _continues(prompt: Chat | Text | Tokens) -> bool:
    """Whether the answer continues a text, and is not a turn of its own."""
    return not isinstance(prompt, Chat) or prompt.continue_last


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
