"""Vectors as JSON has them. Pure."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Annotated

import msgspec

_NUMBERS = {"type": "array", "items": {"type": "number"}}
Numbers = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_NUMBERS)]  # made by in_numbers


def in_base64(vector: bytes) -> str:
    """``vector``: float32, little-endian."""
    return base64.b64encode(vector).decode()


def in_numbers(vector: bytes) -> msgspec.Raw:
    """A JSON array with no more digits than a float32 has. ``vector``: float32, little-endian."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return msgspec.Raw(("[" + ",".join(f"{number:.9g}" for number in numbers) + "]").encode())
