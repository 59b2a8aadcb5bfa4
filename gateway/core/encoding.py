"""Encodes a task for its Submit."""

from __future__ import annotations

import msgspec

from cupola.gateway.http.errors import ApiError
from cupola.scheduler.protocol.messages import encode, encode_work
from cupola.scheduler.protocol.tasks import Chat, Decide, Decode, Embed, Encode, Task, Work


def encoded(task: Task) -> msgspec.Raw:
    """The ``work`` of a Submit.

    Raises ApiError when a part that the gateway does not check cannot be encoded.
    """
    try:
        return encode_work(task)
    except (OverflowError, RecursionError):
        param = next((name for name, part in _unchecked(task).items() if _too_large(part)), None)
        text = f"'{param}' holds a number or a nesting that is too large"
        raise ApiError(400, "invalid_value", text, param=param) from None


def _unchecked(task: Task) -> dict[str, object]:
    """The parts that the gateway passes on as they came, by their names."""
    match task:
        case Work(prompt=Chat() as chat) | Encode(prompt=Chat() as chat) | Decide(prompt=chat):
            options = chat.template_options
            return {"tools": chat.tools, "template_options": options, "prompt": chat.messages}
        case Decode(ids):
            return {"ids": ids}
        case Embed(texts):
            return {"texts": texts}
    return {"prompt": task.prompt}


def _too_large(part: object) -> bool:
    try:
        encode(part)
    except (OverflowError, RecursionError):
        return True
    return False
