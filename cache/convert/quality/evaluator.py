"""Measures how near a rounded model is to itself in float32, and how fast it is.

The text is one that calibration does not see. It is prose, legal prose and code. The speed is that
of the machine that imported the model, under whatever load that machine had. The worker rewrites
the graph. Its steps take about as long; ``loadtests/variants.py`` measures them.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from tokenizers import Tokenizer

from cupola.cache.convert.quality.runtime import Advance, Run, Sizes, decoder_feed, run_all
from cupola.cache.quality import Quality

Array = npt.NDArray[np.float32]

_MAX_PERPLEXITY = 1e30
_ROWS = 32  # that are computed with at once
_PAST = 32  # tokens in the cache of each sequence: few, because the exported graph copies them
_STEPS = 7
_MAX_TOKENS = 384  # each keeps a row of logits: 75 MB with a vocabulary of 49,152

_TEXT = """\
The ferry left at seven, and for the first hour nobody spoke. Marta stood at the rail with her
collar turned up and counted the lights along the shore until there were none left to count. Behind
her the two brothers had begun to argue about the price of sheep, as they did every spring, and the
captain's dog went from one passenger to the next as if it were looking for someone it had lost.

Subject to the conditions of this agreement, the owner lends the instrument to the borrower for a
period of twelve months. The borrower shall keep it in good repair, shall not lend it to any other
person without written permission, and shall return it on demand. The owner gives no warranty, and
is not liable for any loss or damage that arises from its use, to the extent permitted by law.

class Shelf:
    def __init__(self, width):
        self.width = width
        self.books = []

    def add(self, book):
        used = sum(other.thickness for other in self.books)
        if used + book.thickness > self.width:
            raise ValueError("the shelf is full")
        self.books.append(book)
        return len(self.books)
"""


class Evaluator:
    """Measures a model, and compares it with its float32 form if that was remembered."""

    def __init__(
        self,
        folder: Path,
        shape: Sizes,
        tokenizer: dict[str, Any],
        graph: str = "model.onnx",
        advance: Advance = lambda share: None,
    ) -> None:
        """``folder``: where ``graph`` is. ``tokenizer``: the content of tokenizer.json.

        ``advance``: see ``run_all``.
        """
        self._advance = advance
        encoded: list[int] = Tokenizer.from_str(json.dumps(tokenizer)).encode(_TEXT).ids
        self._ids = encoded[: min(_MAX_TOKENS, shape.context_length)]
        self._folder = folder
        self._graph = graph
        self._shape = shape
        self._exact: Array | None = None

    def remember_exact(self) -> None:
        """Runs the model in the folder, which is in float32, and keeps its probabilities."""
        self._exact = self._log_probabilities()

    def of(self, folder: Path) -> Evaluator:
        """The evaluator of the model in another folder, which is compared with the same one."""
        other = copy.copy(self)
        other._folder, other._graph = folder, "model.onnx"
        return other

    def measure(self) -> Quality:
        """Runs the rounded model, which is in the folder by now, and compares it."""
        one, sixteen = self._step(1), self._step(16)
        found = self._log_probabilities(one, sixteen)
        quality = Quality(
            perplexity=round(self._perplexity(found), 4),
            tokens=len(self._ids),
            size_bytes=sum(path.stat().st_size for path in self._folder.glob("*.onnx*")),
            tokens_per_second_1=round(1 / one.seconds, 1),
            tokens_per_second_16=round(16 / sixteen.seconds, 1),
        )
        return quality if self._exact is None else self._compared(quality, self._exact, found)

    def _compared(self, quality: Quality, exact: Array, found: Array) -> Quality:
        by_rows = zip(_some(exact), _some(found), strict=True)
        divergence = np.concatenate(
            [(np.exp(one) * (one - other)).sum(axis=-1) for one, other in by_rows]
        ).mean()
        same = (exact.argmax(axis=-1) == found.argmax(axis=-1)).mean()
        return msgspec.structs.replace(
            quality,
            perplexity_fp32=round(self._perplexity(exact), 4),
            kl_divergence=round(float(divergence), 5),
            same_best_token=round(float(same), 4),
        )

    def _step(self, rows: int) -> Run:
        """A step of one token in each of ``rows`` sequences, to be measured."""
        past = min(_PAST, self._shape.context_length - 1)
        return Run(decoder_feed([0], self._shape, rows, past), ("logits",), steps=_STEPS)

    def _log_probabilities(self, *beside: Run) -> Array:
        """Of the text. ``beside``: other runs of the same model."""
        text = Run(decoder_feed(self._ids, self._shape), ("logits",))
        model = onnx.load(str(self._folder / self._graph), load_external_data=False)
        run_all(model, self._folder, [text, *beside], advance=self._advance)
        found: Array = text.values["logits"][0]
        for rows in _some(found):  # in place: with a large vocabulary a copy is half a gigabyte
            rows -= rows.max(axis=-1, keepdims=True)
            rows -= np.log(np.exp(rows).sum(axis=-1, keepdims=True))
        return found

    def _perplexity(self, log_probabilities: Array) -> float:
        following = log_probabilities[np.arange(len(self._ids) - 1), self._ids[1:]]
        # Of a broken or random model it is more than JSON has a number for.
        return min(math.exp(min(-float(following.mean(dtype=np.float64)), 99.0)), _MAX_PERPLEXITY)


def _some(rows: Array) -> Iterator[Array]:
    """Views of a few rows each."""
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]
