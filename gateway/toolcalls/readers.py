"""Readers of the text between the markers of tool calls, one for each way to write a call.

A new way is a name in ``Payload``, a reader, and a line in ``_READERS``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Container, Mapping
from enum import StrEnum
from functools import partial
from typing import Protocol

from cupola.gateway.toolcalls.json_calls import Argue, Begin, JsonCallReader, JsonValue


class Payload(StrEnum):
    """What stands between the markers of a tool call."""

    JSON = "json"  # {"name": …, "arguments": {…}}, or a list of such
    NAMED_JSON = "named_json"  # the name, then {…}; or what JSON is
    PYTHON = "python"  # [name(key=value), …]
    XML = "xml"  # <function=name><parameter=key>value</parameter></function>


Call = tuple[str, str]  # name, and arguments as JSON
_AFTER_NAME = re.compile(r"\[CALL_ID\]|\[ARGS\]|\s|```")
MAX_BLOCK = 256 * 1024  # characters


class Reader(Protocol):
    """Is fed the payload. ``failed``: it is no call, and its characters are text."""

    @property
    def failed(self) -> bool: ...

    @property
    def at_rest(self) -> bool:
        """Whether no call is half read: an end marker here is one."""

    def feed(self, char: str) -> None: ...

    def close(self) -> None:
        """The end of the payload."""


def make_reader(payload: Payload, names: Container[str], begin: Begin, argue: Argue) -> Reader:
    """``names``: the tools that may be called. ``begin`` and ``argue`` get what is read."""
    return _READERS[payload](names, begin, argue)


class NamedCallReader:
    """The name, then the arguments: ``name{…}``, ``name[ARGS]{…}``, or a name and a fenced block.

    Or else what a JsonCallReader reads.
    """

    def __init__(self, names: Container[str], begin: Begin, argue: Argue) -> None:
        self._names = names
        self._begin = begin
        self._argue = argue
        self._json: JsonCallReader | None = None
        self._name = ""
        self._value: JsonValue | None = None
        self._over = False
        self._failed = False

    @property
    def failed(self) -> bool:
        return self._failed or (self._json is not None and self._json.failed)

    @property
    def at_rest(self) -> bool:
        return self._json.at_rest if self._json is not None else self._over

    def feed(self, char: str) -> None:
        if self._json is None and not self._name and char in "[{":
            self._json = JsonCallReader(self._names, self._begin, self._argue)
        if self._json is not None:
            self._json.feed(char)
        elif self._over:
            self._failed = not (char.isspace() or char == "`")
        elif self._value is not None:
            self._pass(char)
        elif char == "{":
            self._start(char)
        elif self._name or not char.isspace():
            self._name += char

    def _start(self, char: str) -> None:
        name = _AFTER_NAME.split(self._name)[0]
        if name not in self._names:
            self._failed = True
            return
        self._begin(name)
        self._value = JsonValue()
        self._pass(char)

    def _pass(self, char: str) -> None:
        assert self._value is not None
        self._value.feed(char)
        self._argue(char)
        self._over = self._value.done

    def close(self) -> None:
        if self._json is not None:
            self._json.close()
        elif self._value is None:
            self._failed = True


class BlockReader:
    """Payloads that can only be read as a whole."""

    def __init__(
        self,
        convert: Callable[[str], list[Call]],
        names: Container[str],
        begin: Begin,
        argue: Argue,
    ) -> None:
        self._convert = convert
        self._names = names
        self._begin = begin
        self._argue = argue
        self._text: list[str] = []
        self.failed = False

    at_rest = True

    def feed(self, char: str) -> None:
        self._text.append(char)
        self.failed = len(self._text) > MAX_BLOCK

    def close(self) -> None:
        calls = self._convert("".join(self._text).strip())
        if not calls or any(name not in self._names for name, _ in calls):
            self.failed = True
            return
        for name, arguments in calls:
            self._begin(name)
            self._argue(arguments)


def python_calls(text: str) -> list[Call]:
    """``[f(a=1), g(b="x")]`` or a bare call. Arguments must be literals. Nothing is run."""
    try:
        parsed = ast.parse(text, mode="eval").body
        nodes = parsed.elts if isinstance(parsed, (ast.List, ast.Tuple)) else [parsed]
        return [_python_call(node) for node in nodes]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call with named arguments")
    arguments = {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if None in arguments:
        raise ValueError("unpacked arguments")
    return ast.unparse(node.func), json.dumps(arguments, ensure_ascii=False)


_JSON_NAMES = {"true": True, "false": False, "null": None}


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id in _JSON_NAMES:
        return _JSON_NAMES[node.id]
    return ast.literal_eval(node)


_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(
    r"<parameter=([^>\n]+)>\n?(.*?)\n?(?=</parameter>|<parameter=|\Z)", re.DOTALL
)


def xml_calls(text: str) -> list[Call]:
    """``<function=f><parameter=a>1</parameter></function>``. A value that is JSON is taken so."""
    return [
        (name.strip(), json.dumps(_parameters(body), ensure_ascii=False))
        for name, body in _FUNCTION.findall(text)
    ]


def _parameters(body: str) -> dict[str, object]:
    return {name.strip(): _json_or_text(value) for name, value in _PARAMETER.findall(body)}


def _json_or_text(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


_READERS: Mapping[Payload, Callable[[Container[str], Begin, Argue], Reader]] = {
    Payload.JSON: JsonCallReader,
    Payload.NAMED_JSON: NamedCallReader,
    Payload.PYTHON: partial(BlockReader, python_calls),
    Payload.XML: partial(BlockReader, xml_calls),
}
