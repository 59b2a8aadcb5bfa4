"""The strings of a conversation that do not come from the model's template. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from msgspec.structs import replace

from cupola.scheduler.protocol.tasks import Chat


def user_strings(chat: Chat) -> Iterator[str]:
    """All strings of the messages, tools and template variables, the keys of objects included."""
    left: list[Any] = [chat.template_options, *reversed(chat.tools), *reversed(chat.messages)]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value


def fits(chat: Chat, characters: int, strings: int) -> bool:
    """Whether the conversation has at most so many characters and strings.

    It stops to count where there are more.
    """
    found = list(islice(user_strings(chat), strings + 1))
    return len(found) <= strings and sum(map(len, found)) <= characters


def with_strings(chat: Chat, change: Callable[[str], str]) -> Chat:
    """The conversation with every such string changed. Raises RecursionError."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, dict):
            return {change(key): changed(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [changed(item) for item in value]
        return value

    return replace(
        chat,
        messages=tuple(map(changed, chat.messages)),
        tools=tuple(map(changed, chat.tools)),
        template_options=changed(chat.template_options),
    )
