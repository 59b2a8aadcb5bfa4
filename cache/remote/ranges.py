"""What an answer to a request for a part of a file says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class ContentRange(NamedTuple):
    """Bytes ``start`` to ``end`` (exclusive) of ``total``; None: the server does not know it."""

    start: int
    end: int
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """The header of that name; None: it is missing or says nothing."""
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    total = None if found[3] == "*" else int(found[3])
    return ContentRange(int(found[1]), int(found[2]) + 1, total)


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether the body is compressed: then its bytes are not the file's."""
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def content_length(headers: Mapping[str, str]) -> int | None:
    """The file's size by an answer that has all of it."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and not is_encoded(headers) else None


def validator(headers: Mapping[str, str]) -> str:
    """What changes when the file changes. Empty: the server does not say.

    A weak ETag counts as well: it is only compared with what the same server said before.
    """
    return headers.get("etag", "") or headers.get("last-modified", "")
