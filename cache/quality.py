"""``quality.json``, which an import leaves beside a model: how exact, large and fast the model is.

Imports nothing heavy, because lists of models show the file's content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

QUALITY_FILE = "quality.json"
# In bytes of the model in float32. A larger model is not written in float32 for a comparison.
MAX_COMPARED_BYTES = 2 << 30
_MAX_FILE_BYTES = 1 << 16
# Models that speak have 5 to 60 on this text; one that has more than this does not.
_BROKEN_PERPLEXITY = 1000.0

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class WeightKind(msgspec.Struct, frozen=True):
    """Some of the weights of one kind of layer."""

    name: str  # "qkv_proj", "down_proj", "lm_head", ...
    bits: int  # of a weight
    source: str  # what the converted file had: "Q4_K", "F16", ...
    share: float  # of all weights of this kind


class Quality(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of the file, under its names. None: it was not measured.

    ``tokens_per_second_N`` is the speed of N sequences together. It is a rough figure of the
    machine that imported the model, under whatever load that machine had.
    """

    perplexity: _Positive | None = None
    perplexity_fp32: _Positive | None = None  # of the same model before it was rounded
    kl_divergence: float | None = None  # in nats a token, from the model before it was rounded
    same_best_token: float | None = None  # the share of places where both prefer the same token
    tokens: int | None = None  # the length of the text
    size_bytes: int | None = None  # of graph and weights
    weights: list[WeightKind] = []
    tokens_per_second_1: float | None = None
    tokens_per_second_16: float | None = None

    @property
    def warning(self) -> str:
        """What a person should know before they use the model; empty: nothing."""
        if self.perplexity is None or self.perplexity <= _BROKEN_PERPLEXITY:
            return ""
        kinds = sorted({each.source for each in self.weights})
        stored = f" The file has {', '.join(kinds)}." if kinds else ""
        many = self.perplexity > 1e6
        how_much = "more than a million" if many else f"{self.perplexity:,.0f}"
        return (
            f"The model is likely to speak gibberish: its perplexity is {how_much}."
            f"{stored} Try another file of the model"
        )

    def encoded(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def read_quality(folder: Path) -> Quality | None:
    """The quality of the model in ``folder``. None: the file is missing or cannot be read."""
    try:
        with (folder / QUALITY_FILE).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES)
        return msgspec.json.decode(content, type=Quality)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
