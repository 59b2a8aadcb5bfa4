"""The bytes of one token, which may be a part of a character."""

from __future__ import annotations

import re

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's alphabet, which has a printable character for every byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


BYTE_LEVEL = _byte_level_alphabet()


def token_bytes(token: str, *, byte_level: bool) -> bytes:
    """The bytes of a token, given as the vocabulary spells it.

    ``byte_level``: it is spelled in GPT-2's alphabet.
    """
    if byte_level and all(symbol in BYTE_LEVEL for symbol in token):
        return bytes(BYTE_LEVEL[symbol] for symbol in token)
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
