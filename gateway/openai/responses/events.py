"""The events of a streamed response, as OpenAI's API names them.

``sequence_number`` counts the events of one stream. ``Progress`` sets it.
"""

from __future__ import annotations

import msgspec

from cupola.gateway.openai.answers import ContentLogprob
from cupola.gateway.openai.responses.answers import (
    OutputItem,
    OutputText,
    ReasoningText,
    ResponseObject,
)


class StreamEvent(msgspec.Struct, kw_only=True, tag_field="type", tag="event"):
    sequence_number: int = 0

    @property
    def frame(self) -> bytes:
        """The event as a server-sent one."""
        kind = str(self.__struct_config__.tag).encode()
        return b"event: " + kind + b"\ndata: " + _encode(self) + b"\n\n"


_encode = msgspec.json.Encoder().encode


class ResponseEvent(StreamEvent, kw_only=True, tag="response"):
    """Tells of the whole response."""

    response: ResponseObject


class Created(ResponseEvent, kw_only=True, tag="response.created"):
    pass


class Queued(ResponseEvent, kw_only=True, tag="response.queued"):
    pass


class InProgress(ResponseEvent, kw_only=True, tag="response.in_progress"):
    pass


class Completed(ResponseEvent, kw_only=True, tag="response.completed"):
    pass


class Incomplete(ResponseEvent, kw_only=True, tag="response.incomplete"):
    pass


class Failed(ResponseEvent, kw_only=True, tag="response.failed"):
    pass


class ItemAdded(StreamEvent, kw_only=True, tag="response.output_item.added"):
    output_index: int
    item: OutputItem


class ItemDone(StreamEvent, kw_only=True, tag="response.output_item.done"):
    output_index: int
    item: OutputItem


class ItemEvent(StreamEvent, kw_only=True, tag="item"):
    """Tells of a part of an item."""

    item_id: str
    output_index: int


class PartEvent(ItemEvent, kw_only=True, tag="part"):
    content_index: int = 0


class PartAdded(PartEvent, kw_only=True, tag="response.content_part.added"):
    part: OutputText | ReasoningText


class PartDone(PartEvent, kw_only=True, tag="response.content_part.done"):
    part: OutputText | ReasoningText


class TextDelta(PartEvent, kw_only=True, tag="response.output_text.delta"):
    delta: str
    logprobs: list[ContentLogprob]


class TextDone(PartEvent, kw_only=True, tag="response.output_text.done"):
    text: str
    logprobs: list[ContentLogprob]


class ReasoningDelta(PartEvent, kw_only=True, tag="response.reasoning_text.delta"):
    delta: str


class ReasoningDone(PartEvent, kw_only=True, tag="response.reasoning_text.done"):
    text: str


class ArgumentsDelta(ItemEvent, kw_only=True, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(ItemEvent, kw_only=True, tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class InputDelta(ItemEvent, kw_only=True, tag="response.custom_tool_call_input.delta"):
    delta: str


class InputDone(ItemEvent, kw_only=True, tag="response.custom_tool_call_input.done"):
    input: str
