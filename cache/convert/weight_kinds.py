"""Says which weights of a model have how many bits, and what the file had for them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from cupola.cache.convert.graph.initializers import StoredWeights
from cupola.cache.quality import WeightKind

_LAYER = re.compile(r"^model\.layers\.\d+\.(?:attn|mlp)\.")
_REST = re.compile(r"(?:\.part_\d+)?\.MatMul\.weight$")


def weight_kinds(stored: Iterable[StoredWeights]) -> list[WeightKind]:
    """One entry for each kind of layer, its bits and its type in the file, in the graph's order."""
    sizes: Counter[tuple[str, int, str]] = Counter()
    of_kind: Counter[str] = Counter()
    for weights in stored:
        name = _REST.sub("", _LAYER.sub("", weights.name)).removeprefix("model.")
        for source, size in weights.sources:
            sizes[name, weights.bits, source] += size
            of_kind[name] += size
    return [
        WeightKind(name, bits, source, round(size / of_kind[name], 3))
        for (name, bits, source), size in sizes.items()
    ]
