"""Texts as parts of a model's id and of a folder's name. Pure."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_MAX_NAME = 100
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_QUANTISATION = re.compile(r"[.-](?:i?q\d\w*|b?f16|f32|mxfp4)$", re.IGNORECASE)


def safe(text: str) -> str:
    """``text`` as a part of a model's id and a folder's name; empty: nothing of it can be one."""
    return _UNSAFE.sub("-", text)[:_MAX_NAME].strip("-._")


def title_of(stem: str) -> str:
    """A model's name by the name of its file, without ".gguf": without its part and its quant."""
    return _QUANTISATION.sub("", _PART.sub("", stem))
