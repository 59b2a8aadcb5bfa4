"""Why a constraint cannot be followed, in the words of who wrote it.

llguidance tells mistakes with its own notes: where a regular expression lies in the grammar that
it makes of it, and which part of its code refuses it.
"""

from __future__ import annotations

import re

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.model.backend import RequestError

MAX_TEXT = 300  # characters of a reason, which may quote the whole grammar

_NAMES = {
    ConstraintKind.JSON_SCHEMA: "JSON schema",
    ConstraintKind.JSON_OBJECT: "JSON grammar",
    ConstraintKind.REGEX: "regular expression",
    ConstraintKind.LARK: "Lark grammar",
    ConstraintKind.GBNF: "GBNF grammar",
}
_UNIMPLEMENTED = re.compile(r"Unimplemented keys: \[(.*?)\]")
_REGEX = re.compile(r"regex parse error:\n    (.*)\n    ( *)\^.*\nerror: (.*)")
_ELSEWHERE = re.compile(r"Resource '(.*?)' is not present")
_EXCERPT = re.compile(r"\n +\d+ \| .*", re.DOTALL)
_PLACE = re.compile(r"^(?:at )?(\d+)\((\d+)\): ")


def refused(constraint: Constraint, reason: str) -> RequestError:
    """The error for a constraint that cannot be followed. ``reason``: llguidance's, or an own."""
    text = f"the {_NAMES[constraint.kind]} {_what_is_wrong(reason)}"
    return RequestError(ErrorCode.INVALID_REQUEST, text, "constraint")


def _what_is_wrong(reason: str) -> str:
    if found := _UNIMPLEMENTED.search(reason):
        keys = found[1].replace('"', "'")
        return f"uses {keys}, which cannot be enforced here; leave it out"
    if reason.startswith("oneOf"):
        return (
            "uses 'oneOf' with branches that are not clearly apart from each other, "
            "which cannot be enforced here; use 'anyOf', or give each branch its own 'type' or "
            "a required property with its own constant string"
        )
    if "lookarounds not supported" in reason:
        return (
            r"uses '\b', '\B', or '^' or '$' in its middle, which cannot be enforced here; "
            "leave it out: an answer always is the whole expression"
        )
    if found := _ELSEWHERE.search(reason):
        return (
            f"refers to '{_short(found[1])}', and nothing is fetched; put what it means into "
            "'$defs' and refer to that"
        )
    if reason.startswith("Expecting object schema"):
        return "cannot be used: it is no object"
    return f"cannot be used: {_cause(reason)}"


def _cause(reason: str) -> str:
    if found := _REGEX.search(reason):
        regex, before, error = found.groups()
        return f"{_short(error)}, at character {len(before) + 1} of '{_short(regex)}'"
    text = _PLACE.sub(r"line \1, column \2: ", _EXCERPT.sub("", reason))
    return _short(text)


def _short(text: str) -> str:
    text = " ".join(text.replace("<non-verbose/>", "").split())
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " ..."
