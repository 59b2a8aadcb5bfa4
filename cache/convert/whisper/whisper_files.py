"""Tells a Whisper's weights from others, by the files beside them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cupola.cache.model_config import GENAI_CONFIG, read_config

CTRANSLATE2 = ".bin"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"  # of a converted model
_OWN_INPUT = b"cross_key.0"  # of a converted model's decoder


class _Config(msgspec.Struct):
    model_type: str = ""


def is_whisper(weights: Path) -> bool:
    """Whether the file is converted as a Whisper. Of files of CTranslate2, all are tried."""
    if weights.suffix == CTRANSLATE2:
        return True
    if weights.name == GENAI_CONFIG:
        return is_built_whisper(weights.parent)
    if weights.suffix != ".safetensors":
        return False
    try:
        content = (weights.parent / "config.json").read_bytes()
        return msgspec.json.decode(content, type=_Config).model_type == "whisper"
    except (OSError, msgspec.MsgspecError):
        return False


def is_built_whisper(folder: Path) -> bool:
    """Whether the folder has a Whisper as onnxruntime-genai's builder makes it, not one of ours."""
    try:
        if read_config(folder).model.type != "whisper":
            return False
    except (OSError, ValueError):
        return False
    try:  # the file is small: the weights are beside it
        return _OWN_INPUT not in (folder / DECODER).read_bytes()
    except OSError:
        return True


def whisper_files(weights: Path) -> list[Path]:
    """The files that a conversion of ``weights`` reads weights from, in a fixed order."""
    if weights.name != GENAI_CONFIG:
        return [weights]
    beside = sorted(weights.parent.iterdir())
    return [path for path in beside if ".onnx" in path.name and path.is_file()]
