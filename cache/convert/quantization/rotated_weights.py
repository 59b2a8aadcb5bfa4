"""The weights of a decoder whose residual stream is rotated (QuaRot).

See ``weights/rotation.py`` for the matrix and the reason.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cupola.cache.convert.weights.decoder_weights import (
    ATTENTION_NORM,
    MLP_NORM,
    ChangedWeights,
    Projection,
    Vector,
)
from cupola.cache.convert.weights.matrix import Matrix
from cupola.cache.convert.weights.rotation import rotate
from cupola.cache.errors import UnsupportedError

# The norms that move into the projections which read them.
_MOVED_INTO = {
    Projection.QKV: ATTENTION_NORM,
    Projection.GATE: MLP_NORM,
    Projection.UP: MLP_NORM,
}


class RotatedWeights(ChangedWeights):
    """The same function as ``plain``. The norms of the stream have no weights of their own."""

    def embedding(self) -> Matrix:
        return replace(self.plain.embedding(), rotated_inputs=self.shape.hidden)

    def head(self) -> Matrix:
        return self._with_norm(self.plain.head(), self.plain.final_norm())

    def head_rotation(self) -> Vector | None:
        """A tied head cannot take in the last norm's weights: the embedding does not have them."""
        size = self.shape.hidden
        return rotate(rotate(np.diag(self.plain.final_norm()), size).T, size)

    def final_norm(self) -> Vector:
        return np.ones(self.shape.hidden, np.float32)

    def norm(self, layer: int, name: str) -> Vector:
        """Raises UnsupportedError for a norm that no projection can take in."""
        if name not in _MOVED_INTO.values():
            raise UnsupportedError(
                f"The norm '{name}' rules out a rotated residual stream, which W8A8 needs: "
                "choose another precision"
            )
        return np.ones(self.shape.hidden, np.float32)

    def projection(self, layer: int, which: Projection) -> Matrix:
        matrix = self.plain.projection(layer, which)
        if which in _MOVED_INTO:
            return self._with_norm(matrix, self.plain.norm(layer, _MOVED_INTO[which]))
        return replace(matrix, rotated_outputs=self.shape.hidden)

    def _with_norm(self, matrix: Matrix, norm: Vector) -> Matrix:
        factors = norm if matrix.column_factors is None else norm * matrix.column_factors
        return replace(matrix, column_factors=factors, rotated_inputs=self.shape.hidden)
