"""From a Decide to its tokens: the shared prompt, and each question behind it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from msgspec.structs import replace

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import Chat, Decide, Question
from cupola.workers.decisions.asked import Asked
from cupola.workers.decisions.labels import Labels, labels_of
from cupola.workers.decisions.trie import Tokens, Trie
from cupola.workers.decisions.wording import options_of, orders, worded
from cupola.workers.model.backend import RequestError
from cupola.workers.model.conversion import render
from cupola.workers.model.render_budget import CancelledError, RenderBudget
from cupola.workers.model.text import RenderedChat, TextCodec
from cupola.workers.model.text_jobs import Cancelled

SEPARATOR = "\n\n"  # between the conversation's last message and the question
_PLACE = f"\ue010{secrets.token_hex(8)}\ue011"  # where the questions go; no text can spell it
# A model that is asked inside its reasoning answers with a thought.
_REASONING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
_HARMONY = "<|start|>assistant"
_LARGE = 2**20  # characters
MOST_TOKENS = 2**21  # of all questions in all orders. Hours of work, and 100 MB of memory
_TOO_MUCH = (
    f"the questions in all their orders have more than {MOST_TOKENS} tokens; ask fewer questions "
    "in a request, or lower 'permutations'"
)


@dataclass(frozen=True, slots=True)
class DecisionPrompt:
    """A request, and what was read of its texts."""

    work: Decide
    tokens: list[int]  # that all questions share
    asked: list[Asked]  # the questions, each in all of its orders

    @property
    def longest(self) -> int:
        """The most tokens of a question and its options."""
        return max(asked.longest for asked in self.asked)


def read(
    codec: TextCodec, work: Decide, budget: RenderBudget, context: int, cancelled: Cancelled
) -> DecisionPrompt:
    """``context``: the most tokens of the model. Raises RequestError, and what ``render`` does."""
    _check_size(codec, work.prompt, context)
    before, after = _around(render(codec, _with_place(work.prompt), budget))
    _check(codec.fewest_tokens(before.text), context, "prompt", "at least ")
    tokens = codec.encode_rendered(before)
    _check(len(tokens), context, "prompt")
    state = work.prompt.messages[-1] if _ends_with_user(work.prompt) else {}
    reader = _Reader(codec, after, SEPARATOR if state.get("content") else "")
    asked: list[Asked] = []
    read_tokens = 0
    for index, question in enumerate(work.questions):
        place = f"questions[{index}]"
        for text in _texts(question):  # to read megabytes takes long
            _check(codec.fewest_tokens(text), context, place, "at least ")
        for once in reader.read(index, question, work.permutations):
            if cancelled():
                raise CancelledError
            _check(len(tokens) + once.longest, context, place)
            read_tokens += len(once.tokens)
            if read_tokens > MOST_TOKENS:
                raise RequestError(ErrorCode.INVALID_REQUEST, _TOO_MUCH, place)
            asked.append(once)
    return _shared(DecisionPrompt(work, tokens, asked))


def _shared(prompt: DecisionPrompt) -> DecisionPrompt:
    """The beginning that all questions have in common is read once, as a part of the prompt."""
    # Every question keeps a token: the logits behind it are those of the answer.
    places = zip(*(asked.tokens[:-1] for asked in prompt.asked), strict=False)
    common = [tokens[0] for tokens in takewhile(lambda each: len(set(each)) == 1, places)]
    for asked in prompt.asked:
        del asked.tokens[: len(common)]
    return DecisionPrompt(prompt.work, [*prompt.tokens, *common], prompt.asked)


class _Reader:
    """Reads questions of one conversation. ``after``: what the template writes behind them."""

    def __init__(self, codec: TextCodec, after: str, separator: str) -> None:
        self._codec = codec
        self._after = after
        self._separator = separator
        self._end = codec.encode(after, add_special=False)
        self._answer = cache(self._encoded_answer)

    def read(self, index: int, question: Question, permutations: int) -> Iterator[Asked]:
        """The question in each order. Raises RequestError."""
        options = options_of(question)
        for order in orders(len(options), permutations):
            shown = [options[number] for number in order]
            labels = self._labels(index, tuple(option.text for option in shown))
            text = self._separator + worded(question, shown, labels.texts)
            tokens = self._codec.encode(text, add_special=False, parse_special=False)
            yield Asked(index, [*tokens, *self._end], Trie(labels.tokens), order)

    def _labels(self, index: int, options: tuple[str, ...]) -> Labels:
        labels = labels_of(options, self._answer)
        if labels is None:
            text = "this model's tokenizer cannot tell these options apart; give them other texts"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, f"questions[{index}]")
        return labels

    def _encoded_answer(self, text: str) -> Tokens | None:
        """The tokens of an answer where the model begins its own."""
        tokens = self._codec.encode_behind(self._after, text)
        begins = tokens[: len(self._end)] == self._end
        return tuple(tokens[len(self._end) :]) if begins else None


def _ends_with_user(chat: Chat) -> bool:
    """Whether the last message is the user's, so that the question continues it."""
    return bool(chat.messages) and chat.messages[-1].get("role") == "user"


def _with_place(chat: Chat) -> Chat:
    messages = list(chat.messages)
    if _ends_with_user(chat):
        messages[-1] = {**messages[-1], "content": messages[-1]["content"].rstrip() + _PLACE}
    else:
        messages.append({"role": "user", "content": _PLACE})
    return replace(chat, messages=tuple(messages))


def _around(rendered: RenderedChat) -> tuple[RenderedChat, str]:
    """What stands before the questions, and what stands behind them. Raises RequestError."""
    parts = rendered.marked.split(_PLACE)
    if len(parts) != 2:
        text = "this model's chat template hides the last message or repeats it"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
    before, after = parts
    opens = any(after.rfind(start) > after.rfind(end) for start, end in _REASONING)
    if opens or after.endswith(_HARMONY):
        text = (
            "this model thinks before it answers, and its chat template cannot leave that out: "
            "there is no place at which an answer could be scored"
        )
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
    return RenderedChat(before, rendered.mark), after


def _check_size(codec: TextCodec, chat: Chat, context: int) -> None:
    """A template takes long for megabytes, and does not say how many tokens they are."""
    contents = [message.get("content") for message in chat.messages]
    texts = [content for content in contents if isinstance(content, str)]
    if sum(map(len, texts)) > _LARGE:
        _check(sum(map(codec.fewest_tokens, texts)), context, "prompt", "at least ")


def _texts(question: Question) -> Iterator[str]:
    yield question.instructions
    for option in question.options:
        yield option.text
        yield option.description


def _check(tokens: int, context: int, param: str, qualifier: str = "") -> None:
    if tokens >= context:
        what = "state" if param == "prompt" else "state with this question"
        text = (
            f"the {what} has {qualifier}{tokens} tokens, but this model's context holds {context}; "
            "shorten it"
        )
        raise RequestError(ErrorCode.CONTEXT_LENGTH_EXCEEDED, text, param)
