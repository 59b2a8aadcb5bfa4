"""Digests of a prompt's beginnings, by which the scheduler finds the worker that has read them.

They are of what the client sent, not of tokens: a gateway has no tokenizer. Who cannot share cached
prompts has other digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from cupola.scheduler.protocol.messages import encode
from cupola.scheduler.protocol.tasks import Chat, LocalModel, Task, Text, Tokens, Work

MOST = 16  # digests of a prompt
_DIGEST = 8  # bytes
_CHARACTERS, _TOKENS = 1024, 256  # of a piece of a prompt that is no chat


def beginnings(model: LocalModel, tenant: str, task: Task) -> tuple[bytes, ...]:
    """The shortest beginning first. Of a chat, each message ends one."""
    if not isinstance(task, Work):
        return ()
    known = hashlib.blake2b(encode((model.id, tenant, task.cache_salt)), digest_size=_DIGEST)
    found = []
    for piece in _pieces(task.prompt):
        known.update(piece)
        found.append(known.copy().digest())
    # A conversation that goes on shares the last ones, another with the same system prompt the
    # first.
    return tuple(found if len(found) <= MOST else [*found[:2], *found[2 - MOST :]])


def _pieces(prompt: Chat | Text | Tokens) -> Iterator[bytes]:
    match prompt:
        case Chat():
            head = encode((prompt.tools, prompt.template_options))
            for message in prompt.messages:
                yield head + encode(message)
                head = b""
        case Text(text):
            for start in range(0, len(text) - _CHARACTERS + 1, _CHARACTERS):
                yield text[start : start + _CHARACTERS].encode(errors="replace")
        case Tokens(ids):
            for start in range(0, len(ids) - _TOKENS + 1, _TOKENS):
                yield encode(ids[start : start + _TOKENS])
