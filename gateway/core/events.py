"""What happens in a generation, for every API. Pure data.

``index`` says which of the request's answers an event belongs to. Each answer has texts, reasoning
and tool calls in the order in which the model made them, and then one ``Finished``. A call's
``ToolCallStart`` comes before its arguments. The last event of all is one ``UsageTotal``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cupola.scheduler.protocol.outputs import PromptProgress, Timings, TokenLogprob, Usage

Reason = Literal["stop", "length", "tool_calls"]


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the answer's text."""

    index: int
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the reasoning before the answer."""

    index: int
    text: str


class ToolCallStart(msgspec.Struct, frozen=True, gc=False):
    """The model calls a tool. ``call`` counts the calls of one answer, from 0."""

    index: int
    call: int
    id: str
    name: str
    custom: bool = False  # it takes a text, see ``custom_tools``


class ToolCallArguments(msgspec.Struct, frozen=True, gc=False):
    """More of a call's arguments, which together are a JSON object; of a custom tool, a text."""

    index: int
    call: int
    fragment: str


class Logprobs(msgspec.Struct, frozen=True):
    """The tokens of the texts next to this event."""

    index: int
    tokens: tuple[TokenLogprob, ...]


class PromptLogprobs(msgspec.Struct, frozen=True):
    """The tokens of a prompt, where the request wants them. It is the first event of the answer.

    Nothing predicts the first token, so its logprob is NaN.
    """

    index: int
    tokens: tuple[TokenLogprob, ...]


class Reading(msgspec.Struct, frozen=True):
    """The prompt is being read, where the request wants to know. It comes before PromptRead."""

    index: int  # of the prompt's first answer
    progress: PromptProgress


class Measured(msgspec.Struct, frozen=True):
    """How long the generation has taken so far, where the request wants to know."""

    index: int
    timings: Timings


class PromptRead(msgspec.Struct, frozen=True):
    """The prompt has been read, and its tokens are known. It comes before what was generated.

    ``usage``: so far. Where a request has several prompts there is one event for each.
    """

    index: int  # of the prompt's first answer
    usage: Usage
    room: int = 0  # how many new tokens fit, if the request asks for more; 0: it does not


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end of one answer."""

    index: int
    reason: Reason
    stopped_by: str | int | None = None  # the stop string or the stop token that ended it
    cut_call: bool = False  # it was cut inside its last call, whose arguments are not complete


class UsageTotal(msgspec.Struct, frozen=True):
    """The tokens of all answers together; the end of the generation."""

    usage: Usage
    reasoning_tokens: int = 0
    timings: Timings | None = None  # of one prompt; None: they were not measured


Event = (
    TextDelta | ReasoningDelta | ToolCallStart | ToolCallArguments | Logprobs | PromptLogprobs
    | Reading | Measured | PromptRead | Finished | UsageTotal
)  # fmt: skip
