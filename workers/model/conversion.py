"""Text to tokens and tokens to text, for requests that need no generation."""

from __future__ import annotations

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.outputs import Output, Usage
from cupola.scheduler.protocol.tasks import Chat, Decode, Encode
from cupola.workers.model.backend import RequestError
from cupola.workers.model.chat_template import TemplateError
from cupola.workers.model.render_budget import (
    BudgetSpentError,
    RenderBudget,
    full_budget,
    small_budget,
)
from cupola.workers.model.text import RenderedChat, TextCodec
from cupola.workers.model.text_jobs import (
    SMALL_CHARACTERS,
    SMALL_STRINGS,
    SMALL_TOKENS,
    Cancelled,
)
from cupola.workers.model.user_strings import fits

MOST_TOKENS = 1_000_000  # of one answer


def convert(
    codec: TextCodec,
    request_id: str,
    task: Encode | Decode,
    cancelled: Cancelled = lambda: False,
) -> Output:
    """The only output of such a request. Raises RequestError."""
    return _converted(codec, request_id, task, full_budget(cancelled))


def convert_small(codec: TextCodec, request_id: str, task: Encode | Decode) -> Output | None:
    """The only output of such a request; None: it takes too long here. Raises RequestError."""
    small = len(task.ids) <= SMALL_TOKENS if isinstance(task, Decode) else True
    if isinstance(task, Encode):
        chat = task.prompt
        small = is_small(chat) if isinstance(chat, Chat) else len(chat.text) <= SMALL_CHARACTERS
    try:
        return _converted(codec, request_id, task, small_budget()) if small else None
    except BudgetSpentError:
        return None


def is_small(chat: Chat) -> bool:
    """Whether a conversation can be read between two steps of a model."""
    return fits(chat, SMALL_CHARACTERS, SMALL_STRINGS)


def _converted(
    codec: TextCodec, request_id: str, task: Encode | Decode, budget: RenderBudget
) -> Output:
    if isinstance(task, Decode):
        return _decoded(codec, request_id, task)
    if isinstance(task.prompt, Chat):
        rendered = render(codec, task.prompt, budget)
        text = rendered.text
        _check_count(codec.fewest_tokens(text), "at least ")
        tokens = codec.encode_rendered(rendered)
    else:
        text, parse = task.prompt.text, task.prompt.parse_special
        _check_count(codec.fewest_tokens(text), "at least ")
        tokens = codec.encode(text, add_special=task.add_special, parse_special=parse)
    _check_count(len(tokens))
    return Output(
        request_id,
        text,
        usage=Usage(len(tokens), 0),
        tokens=tuple(tokens),
        pieces=tuple(map(codec.token_bytes, tokens)),
    )


def render(codec: TextCodec, chat: Chat, budget: RenderBudget) -> RenderedChat:
    """The text of a conversation. Raises RequestError, or BudgetSpentError for a small budget."""
    try:
        return codec.render(chat, budget)
    except TemplateError as error:
        raise RequestError(ErrorCode.INVALID_REQUEST, str(error), "prompt") from error


def _check_count(tokens: int, qualifier: str = "") -> None:
    if tokens > MOST_TOKENS:
        text = f"the text has {qualifier}{tokens} tokens, more than {MOST_TOKENS}; send it in parts"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "prompt")


def _decoded(codec: TextCodec, request_id: str, task: Decode) -> Output:
    for token in task.ids:
        if not codec.has(token):
            text = f"the model has no token {token}"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "ids")
    text = codec.decode(task.ids, keep_special=task.keep_special)
    return Output(request_id, text, usage=Usage(len(task.ids), 0))
