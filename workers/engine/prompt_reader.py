"""Reads the prompt of a request: its texts become tokens, within the model's context.

A request that the model cannot serve is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass

from cupola.scheduler.protocol.messages import ErrorCode
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
from cupola.workers.model.backend import RequestError
from cupola.workers.model.conversion import is_small, render
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.render_budget import (
    BudgetSpentError,
    RenderBudget,
    full_budget,
    small_budget,
)
from cupola.workers.model.text import TextCodec
from cupola.workers.model.text_jobs import SMALL_CHARACTERS, Cancelled

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


class PromptReader:
    """Of one model."""

    def __init__(self, folder: ModelFolder, codec: TextCodec, vocabulary: int) -> None:
        """``vocabulary``: how many tokens the model knows."""
        self._codec = codec
        self._context = folder.context
        self._vocabulary = vocabulary

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
            return read_decide(self._codec, work, budget, self._context, cancelled)
        tokens = self._tokens(work, budget)
        self._check_length(len(tokens))
        room = self._context - len(tokens)
        room = min(work.sampling.max_tokens or room, room)
        prediction: list[int] = []
        if work.prediction and not work.prompt_logprobs:
            # The answer is no longer than its room, and so is what it can repeat.
            text = work.prediction[: room * _CHARACTERS_PER_TOKEN]
            prediction = self._codec.encode(text, add_special=False)[:room]
        return Prompt(work, tokens, room, prediction)

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
        if prompt >= self._context:
            text = (
                f"the prompt has {qualifier}{prompt} tokens, but this model's context holds "
                f"{self._context} tokens together with the answer; shorten the messages"
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
