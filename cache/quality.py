"""How near a rounded model comes to itself in float32: the numbers of ``quality.json``.

They are from a text that calibration does not see, of prose, legal prose and code. Speed is not
among them: it belongs to a machine and not to a model, and at import a machine is busy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from cupola.cache.architecture import DecoderShape
from cupola.cache.calibration import decoder_feed, open_session

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
    """Holds what the exact model says of the text, to compare other graphs with it."""

    def __init__(self, folder: Path, shape: DecoderShape, tokenizer: dict[str, Any]) -> None:
        """``folder``: where ``model.onnx`` is the model in float32, for now."""
        encoded: list[int] = Tokenizer.from_str(json.dumps(tokenizer)).encode(_TEXT).ids
        self._ids = encoded[: min(_MAX_TOKENS, shape.context_length)]
        self._shape = shape
        self._exact = self._log_probabilities(folder)

    def compare(self, folder: Path) -> dict[str, float]:
        """Of the ``model.onnx`` that is in ``folder`` by now."""
        exact, rounded = self._exact, self._log_probabilities(folder)
        divergence = (np.exp(exact) * (exact - rounded)).sum(axis=-1).mean()
        same = (exact.argmax(axis=-1) == rounded.argmax(axis=-1)).mean()
        return {
            "perplexity": round(self._perplexity(rounded), 4),
            "perplexity_fp32": round(self._perplexity(exact), 4),
            "kl_divergence": round(float(divergence), 5),
            "same_best_token": round(float(same), 4),
            "tokens": len(self._ids),
            "size_bytes": sum(path.stat().st_size for path in folder.glob("model.onnx*")),
        }

    def _log_probabilities(self, folder: Path) -> npt.NDArray[np.float32]:
        session = open_session((folder / "model.onnx").read_bytes(), folder)
        (logits,) = session.run(["logits"], decoder_feed(self._ids, self._shape))
        shifted = logits[0] - logits[0].max(axis=-1, keepdims=True)
        found: npt.NDArray[np.float32] = shifted - np.log(
            np.exp(shifted).sum(axis=-1, keepdims=True)
        )
        return found

    def _perplexity(self, log_probabilities: npt.NDArray[np.float32]) -> float:
        following = log_probabilities[np.arange(len(self._ids) - 1), self._ids[1:]]
        return float(np.exp(-following.mean(dtype=np.float64)))
