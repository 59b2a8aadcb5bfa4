"""A model's figures in words: its size, and what was measured when it was imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cupola.cache.quality import Quality, WeightKind

if TYPE_CHECKING:
    from cupola.cache.catalog import ModelVariant


def size(variant: ModelVariant) -> str:
    """How large its files are; a dash where that is not known."""
    return f"{variant.file_size_mb / 1000:.2f} GB" if variant.file_size_mb else "-"


def bytes_in_words(count: int) -> str:
    """``157 MB``, ``4.1 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def in_words(figures: Quality | None) -> dict[str, str]:
    """Titles and what stands beside them; only of what is known."""
    if figures is None:
        return {}
    words = {"Quality": _quality(figures), "Weights": "", "Speed": _speed(figures)}
    if figures.size_bytes is not None:
        words["Weights"] = f"{figures.size_bytes / 1e6:.0f} MB"
    words["Bits a weight"] = _bits(figures.weights)
    words["Warning"] = figures.warning
    return {title: text for title, text in words.items() if text}


def _quality(figures: Quality) -> str:
    parts = []
    if figures.perplexity is not None and figures.perplexity_fp32 is not None:
        change = figures.perplexity / figures.perplexity_fp32 - 1
        parts.append(f"perplexity {change:+.1%} against float32")
    if figures.kl_divergence is not None:
        parts.append(f"KL divergence {figures.kl_divergence:.3f}")
    if figures.same_best_token is not None:
        parts.append(f"the same best token in {figures.same_best_token:.0%} of the places")
    return ", ".join(parts)


def _bits(weights: Sequence[WeightKind]) -> str:
    """``qkv_proj 4 (Q4_K), down_proj 4 (Q4_K, 50%) and 8 (Q6_K, 50%)``."""
    kinds: dict[str, list[str]] = {}
    for each in weights:
        share = f", {each.share:.0%}" if each.share < 1 else ""
        kinds.setdefault(each.name, []).append(f"{each.bits} ({each.source}{share})")
    return ", ".join(f"{name} {' and '.join(parts)}" for name, parts in kinds.items())


def _speed(figures: Quality) -> str:
    one, sixteen = figures.tokens_per_second_1, figures.tokens_per_second_16
    if one is None or sixteen is None:
        return ""
    return f"about {one:.0f} / {sixteen:.0f} tokens/s at 1 / 16 sequences, when it was imported"
