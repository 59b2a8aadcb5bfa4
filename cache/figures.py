"""``quality.json``, which an import leaves beside a model: how near, how large, how fast it is.

Imports nothing heavy: lists show it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

QUALITY_FILE = "quality.json"
# Bytes of a model in float32: of a larger one no such copy is made to compare it with.
MAX_FLOATS = 2 << 30
_MAX_BYTES = 1 << 16

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class Figures(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file says, under its names; None is what was not measured.

    ``tokens_per_second_N`` is of N sequences together. It is a rough figure of the machine that
    imported the model, whatever else that was doing.
    """

    perplexity: _Positive | None = None
    perplexity_fp32: _Positive | None = None  # the same model's before it was rounded
    kl_divergence: float | None = None  # from what it was
    same_best_token: float | None = None  # in which share of the places
    tokens: int | None = None  # of the text that these are from
    size_bytes: int | None = None  # of graph and weights
    tokens_per_second_1: float | None = None
    tokens_per_second_16: float | None = None

    def encoded(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def read_figures(folder: Path) -> Figures | None:
    """None where there is no such file, or none that can be read: it is only to be looked at."""
    try:
        with (folder / QUALITY_FILE).open("rb") as file:
            content = file.read(_MAX_BYTES)
        return msgspec.json.decode(content, type=Figures)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
