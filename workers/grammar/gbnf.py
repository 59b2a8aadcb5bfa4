"""llama.cpp's grammars (GBNF) in Lark's syntax: llguidance's converter, and what it lacks."""

from __future__ import annotations

import re

from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|.)", re.DOTALL)


def lark_of_gbnf(source: str) -> str:
    """Raises ValueError, whose text says what is wrong."""
    try:
        return gbnf_to_lark(_ESCAPE.sub(_character, source))
    except (GbnfToLarkError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    except Exception as error:  # its other errors have no type of their own
        raise ValueError(str(error)) from None


def _character(escape: re.Match[str]) -> str:
    """The converter cuts the zeros of an escaped code point, which changes it."""
    code = int(escape[1] or escape[2] or "0", 16)
    if code < 0x80:
        return f"\\x{code:02x}" if code else escape[0]
    return chr(code) if code <= 0x10FFFF else escape[0]
