"""Conditions of tests that the machine must meet."""

from __future__ import annotations

import pytest

from cupola.cache.system.processor import multiplies_integers

# onnxruntime's integer products are exact there only. Elsewhere Cupola does not choose W8A8.
needs_integer_products = pytest.mark.skipif(
    not multiplies_integers(),
    reason="this processor adds products of bytes in 16 bits, which overflow: W8A8 is coarse on it",
)
