"""``cupola model quantize``: a variant of a model whose weights have fewer bits."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import typer

from cupola.client import home
from cupola.client.commands.common.options import CachedName
from cupola.client.model_record import record
from cupola.client.terminal.output import Form, Output, report_success

if TYPE_CHECKING:
    from cupola.cache.store import CachedModel


class Variant(enum.StrEnum):
    """What can be made."""

    CPU_INT4 = "cpu-int4"
    CPU_INT8 = "cpu-int8"


def quantize(
    name: CachedName,
    variant: Annotated[
        Variant, typer.Option(help="Bits of most weights, for the CPU.")
    ] = Variant.CPU_INT4,
    output: Output = Form.TEXT,
) -> None:
    """Make a smaller variant of a model on this disk, and compare the two.

    Example: cupola model quantize phi-4-mini --variant cpu-int4
    """
    from cupola.cache.install.quantize import VARIANTS
    from cupola.cache.store import ModelCache
    from cupola.client.commands.common import local_model

    folder = home.current()
    source = ModelCache(folder).find(name)
    made = local_model.quantize(folder, source.variant.id, VARIANTS[variant])
    message = f"Model {made.variant.id} is ready in {made.path}"
    report_success(message, output, **record(made.variant, True))
    if output is Form.TEXT:
        print(*_table(source, made), sep="\n")


def _table(source: CachedModel, made: CachedModel) -> list[str]:
    """A line for each model: size, perplexity and speed, as far as they were measured."""
    before = made.quality.perplexity_fp32 if made.quality else None
    rows = [("model", "MB", "perplexity", "tokens/s, 1 sequence")]
    for model in (source, made):
        figures = model.quality
        perplexity = before if model is source else figures.perplexity if figures else None
        speed = figures.tokens_per_second_1 if figures else None
        size = sum(path.stat().st_size for path in model.path.glob("*.onnx*"))
        rows.append(
            (
                model.variant.id,
                f"{size / 1e6:.0f}",
                "?" if perplexity is None else f"{perplexity:.2f}",
                "?" if speed is None else f"{speed:.0f}",
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
