"""Tells a Whisper's weights from others, by the files beside them."""

from __future__ import annotations

from pathlib import Path

import msgspec

CTRANSLATE2 = ".bin"


class _Config(msgspec.Struct):
    model_type: str = ""


def is_whisper(weights: Path) -> bool:
    """Whether the file is converted as a Whisper. Of files of CTranslate2, all are tried."""
    if weights.suffix == CTRANSLATE2:
        return True
    if weights.suffix != ".safetensors":
        return False
    try:
        content = (weights.parent / "config.json").read_bytes()
        return msgspec.json.decode(content, type=_Config).model_type == "whisper"
    except (OSError, msgspec.MsgspecError):
        return False
