"""Text to tokens and tokens to text, for requests that need no generation."""

from __future__ import annotations

from cupola.scheduler.protocol.messages import Chat, Decode, Encode, ErrorCode, Output, Usage
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text import TemplateError, TextCodec


def convert(codec: TextCodec, request_id: str, task: Encode | Decode) -> Output:
    """The only output of such a request. Raises RequestError."""
    if isinstance(task, Decode):
        return _decoded(codec, request_id, task)
    text = _text(codec, task)
    chat = isinstance(task.prompt, Chat)
    tokens = codec.encode(
        text,
        add_special=task.add_special and not chat,
        parse_special=task.parse_special or chat,
    )
    return Output(
        request_id,
        text,
        usage=Usage(len(tokens), 0),
        tokens=tuple(tokens),
        pieces=tuple(map(codec.token_bytes, tokens)),
    )


def _text(codec: TextCodec, task: Encode) -> str:
    if isinstance(task.prompt, Chat):
        try:
            return codec.render(task.prompt)
        except TemplateError as error:
            raise RequestError(ErrorCode.INVALID_REQUEST, str(error), "prompt") from error
    return task.prompt.text


def _decoded(codec: TextCodec, request_id: str, task: Decode) -> Output:
    for token in task.ids:
        if not codec.has(token):
            text = f"the model has no token {token}"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "ids")
    text = codec.decode(task.ids, keep_special=task.keep_special)
    return Output(request_id, text, usage=Usage(len(task.ids), 0))
