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

    markers: tuple[Markers, ...]
    payload: Payload = Payload.JSON
    bare: bool = False  # a call may also be the whole answer, without markers
    arguments_key: str = "arguments"
    parallel: bool = True
    special: bool = False  # the markers are special tokens, which a worker leaves out by default


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``tools`` None: nothing is read as a call. ``reasoning`` None: it never thinks."""

    name: str
    tools: ToolFormat | None = None
    reasoning: Markers | None = None
    starts_in_reasoning: bool = False  # the prompt ends with the reasoning's start marker
    template_takes_tools: bool = True  # else they are described in a system message
    harmony: bool = False  # gpt-oss: every part of an answer names its channel


PLAIN = Family("plain")
