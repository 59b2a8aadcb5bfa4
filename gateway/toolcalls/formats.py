"""How a model writes reasoning and tool calls into its answers. Pure data."""

from __future__ import annotations

import msgspec

from cupola.gateway.toolcalls.readers import Payload


class Markers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair of markers. An empty ``end``: up to the end of the payload or of the answer."""

    start: str
    end: str = ""


class ToolCallFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tool calls are written.

    ``markers``: any of them begins a call. Where the service describes the tools in a system
    message, it asks for the first.
    """

    markers: tuple[Markers, ...] = ()
    payload: Payload = Payload.JSON
    bare: bool = False  # a call may also be the whole answer, without markers
    whole: bool = False  # an answer may also begin with whole calls as JSON: see ``whole_calls``
    noise: tuple[str, ...] = ()  # further markers, which mean nothing


class AnswerFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind of model answers.

    ``tools`` is None: nothing is read as a call. ``reasoning`` is empty: the model never thinks.
    """

    name: str
    tools: ToolCallFormat | None = None
    reasoning: tuple[Markers, ...] = ()
    starts_in_reasoning: bool = False  # the prompt ends with the first reasoning's start marker
    template_takes_tools: bool = True  # else they are described in a system message
    chats: bool = False  # there is a chat template, so tools can be sent
    harmony: bool = False  # gpt-oss: every part of an answer names its channel
    special: bool = False  # markers are special tokens, which a worker leaves out by default
    short_ids: bool = False  # the template wants ids of calls to have nine letters and digits

    @property
    def thinks(self) -> bool:
        return bool(self.reasoning) or self.harmony


PLAIN = AnswerFormat("plain")
