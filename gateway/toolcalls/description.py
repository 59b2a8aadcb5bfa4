"""How a family of models writes reasoning and tool calls. Pure data."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Payload(StrEnum):
    """What stands between the markers of a tool call."""

    JSON = "json"  # {"name": …, "arguments": {…}}, or a list of such
    NAMED_JSON = "named_json"  # the name, then {…}; or what JSON is
    PYTHON = "python"  # [name(key=value), …]
    XML = "xml"  # <function=name><parameter=key>value</parameter></function>


class Markers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair of markers. An empty ``end``: up to the end of the payload or of the answer."""

    start: str
    end: str = ""


class ToolFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``markers``: any of them begins a call, the first is the one that the model is told of."""

    markers: tuple[Markers, ...] = ()
    payload: Payload = Payload.JSON
    bare: bool = False  # a call may also be the whole answer, without markers
    noise: tuple[str, ...] = ()  # further markers, which mean nothing


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``tools`` None: nothing is read as a call. No ``reasoning``: it never thinks."""

    name: str
    tools: ToolFormat | None = None
    reasoning: tuple[Markers, ...] = ()
    starts_in_reasoning: bool = False  # the prompt ends with the first reasoning's start marker
    template_takes_tools: bool = True  # else they are described in a system message
    harmony: bool = False  # gpt-oss: every part of an answer names its channel
    special: bool = False  # markers are special tokens, which a worker leaves out by default
    short_ids: bool = False  # the template wants ids of calls to have nine letters and digits


PLAIN = Family("plain")
