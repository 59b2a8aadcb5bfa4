"""Takes the figures of a rounded model: how near it is to itself in float32, and how fast.

They are from a text that calibration does not see, of prose, legal prose and code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cupola.cache.convert.architecture import DecoderShape
from cupola.cache.convert.quality.runtime import Session, decoder_feed, open_session
from cupola.cache.convert.quality.speed import tokens_per_second
from cupola.cache.figures import Figures

Array = npt.NDArray[np.float32]

_MAX_TOKENS = 384  # a row of logits for each is kept: 75 MB where the vocabulary is 49,152

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


class Quality:
    """Measures a model, and compares it with what it was in float32 if that was remembered."""

    def __init__(self, folder: Path, shape: DecoderShape, tokenizer: dict[str, Any]) -> None:
        """``folder``: where ``model.onnx`` is, one after the other. ``tokenizer``: its JSON."""
        encoded: list[int] = Tokenizer.from_str(json.dumps(tokenizer)).encode(_TEXT).ids
        self._ids = encoded[: min(_MAX_TOKENS, shape.context_length)]
        self._folder = folder
        self._shape = shape
        self._exact: Array | None = None

    def remember(self) -> None:
        """The model in the folder is the one in float32, for now."""
        self._exact = self._log_probabilities(self._open())

    def measure(self) -> Figures:
        """Of the model that is in the folder by now."""
        session = self._open()
        found = self._log_probabilities(session)
        figures = Figures(
            perplexity=round(self._perplexity(found), 4),
            tokens=len(self._ids),
            size_bytes=sum(path.stat().st_size for path in self._folder.glob("model.onnx*")),
            tokens_per_second_1=round(tokens_per_second(session, self._shape, 1), 1),
            tokens_per_second_16=round(tokens_per_second(session, self._shape, 16), 1),
        )
        return figures if self._exact is None else self._compared(figures, self._exact, found)

    def _compared(self, figures: Figures, exact: Array, found: Array) -> Figures:
        divergence = (np.exp(exact) * (exact - found)).sum(axis=-1).mean()
        same = (exact.argmax(axis=-1) == found.argmax(axis=-1)).mean()
        return msgspec.structs.replace(
            figures,
            perplexity_fp32=round(self._perplexity(exact), 4),
            kl_divergence=round(float(divergence), 5),
            same_best_token=round(float(same), 4),
        )

    def _open(self) -> Session:
        return open_session((self._folder / "model.onnx").read_bytes(), self._folder)

    def _log_probabilities(self, session: Session) -> Array:
        (logits,) = session.run(["logits"], decoder_feed(self._ids, self._shape))
        shifted = logits[0] - logits[0].max(axis=-1, keepdims=True)
        found: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return found

    def _perplexity(self, log_probabilities: Array) -> float:
        following = log_probabilities[np.arange(len(self._ids) - 1), self._ids[1:]]
        return float(np.exp(-following.mean(dtype=np.float64)))
