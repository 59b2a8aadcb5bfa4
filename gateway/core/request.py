"""What a client wants generated, in no API's words. Pure data.

    body ──API──> GenerationRequest ──prepare──> Work ──worker──> Output
        frames <──API── Event <──parser────────────────────────────┘

An API turns its own body into a ``GenerationRequest``, and the events into its own frames. It sees
neither the scheduler nor the markers of a model's format: ``generator.Generator`` stands between.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.tasks import Constraint, SamplingParams, Text, Tokens


class ToolUse(StrEnum):
    """Whether the model calls tools."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; ``parameters`` is a JSON Schema.

    A ``custom`` tool takes a text instead of arguments. See ``custom_tools``.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False
    custom: bool = False
    grammar: Constraint | None = None  # that a custom tool's text must follow


class ToolOptions(msgspec.Struct, frozen=True):
    """The tools that may be called, and how.

    ``listed``: the tools in the prompt. A choice that is enforced does not change them. So the
    prompt, and what the cache holds of it, stays the same from turn to turn.
    """

    tools: tuple[Tool, ...] = ()
    use: ToolUse = ToolUse.AUTO
    parallel: bool = True  # whether one answer may hold several calls
    listed: tuple[Tool, ...] = ()


class Conversation(msgspec.Struct, frozen=True):
    """A chat. Messages have the shape of OpenAI's API; arguments of calls are objects."""

    messages: tuple[dict[str, Any], ...]
    template_options: dict[str, Any] = {}  # further variables
    continue_last: bool = False  # the answer goes on where the last message ends
    parse_special: bool = False  # a message that spells a special token has that token


class GenerationRequest(msgspec.Struct, frozen=True):
    """What a client wants, in no API's words."""

    model: str  # id, name or alias
    prompt: Conversation | Text | Tokens
    sampling: SamplingParams = SamplingParams()
    answers: int = 1
    tools: ToolOptions = ToolOptions()
    constraint: Constraint | None = None
    reasoning: bool | None = None  # None: as the model does by itself
    show_special: bool = False  # special tokens are part of the text
    prompt_logprobs: bool = False
    timings: bool = False  # with every piece of the answer
    progress: bool = False  # tell how much of the prompt has been read
    prediction: str = ""
    cache_salt: str = ""
    ttl: float | None = None  # seconds that the model stays loaded; -1: for ever; None: default
    provider: ExecutionProvider | None = None  # None: the best that there is
    priority: int | None = None  # a lower number is more urgent; None: as the headers say
    timeout: float | None = None  # seconds to wait for the beginning; None: as the headers say
    names: Mapping[str, str] = {}  # see ``param_names``: for errors only
