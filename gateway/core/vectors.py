"""Vectors as JSON has them. Pure."""

from __future__ import annotations

import base64
import sys
from array import array
from math import fsum, hypot
from operator import mul
from typing import Annotated

import msgspec

_NUMBERS = {"type": "array", "items": {"type": "number"}}
Numbers = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_NUMBERS)]  # made by in_numbers


def in_base64(vector: bytes) -> str:
    """``vector``: float32, little-endian."""
    return base64.b64encode(vector).decode()


def cosine(one: bytes, other: bytes) -> float:
    """Of the angle between two vectors: 1 if they point the same way. See ``in_base64``."""
    first, second = _floats(one), _floats(other)
    product = fsum(map(mul, first, second))
    lengths = hypot(*first) * hypot(*second)
    return product / lengths if lengths else 0.0


def number_of(vector: bytes) -> float:
    """The first number of a vector. See ``in_base64``."""
    return _floats(vector)[0]


def in_numbers(vector: bytes) -> msgspec.Raw:
    """A JSON array with no more digits than a float32 has. ``vector``: float32, little-endian."""
    numbers = ",".join(f"{number:.9g}" for number in _floats(vector))
    return msgspec.Raw(f"[{numbers}]".encode())


def _floats(vector: bytes) -> array[float]:
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
