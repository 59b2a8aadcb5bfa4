"""Arguments and options that several commands have."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from cupola.client.commands.common.completion import cached_models, catalog_models
from cupola.client.commands.common.filters import Device, Kind


def finite(value: float) -> float:
    """A callback of options: click takes nan for a number in every range."""
    if math.isfinite(value):
        return value
    raise typer.BadParameter(f"{value} is not a finite number")


_NAME = "An alias, a name or a full id."
Name = Annotated[str, typer.Argument(metavar="MODEL", help=_NAME, autocompletion=catalog_models)]
CachedName = Annotated[
    str, typer.Argument(metavar="MODEL", help=_NAME, autocompletion=cached_models)
]
OnDevice = Annotated[Device | None, typer.Option("--device", help="Only models for this device.")]
OfKind = Annotated[Kind | None, typer.Option("--type", help="Only models of this kind.")]
Search = Annotated[str | None, typer.Option(help="Only models with this text in a name.")]
Limit = Annotated[int | None, typer.Option(min=1, help="The largest number of models to list.")]
Variants = Annotated[
    bool, typer.Option("--variants", "-v", help="List every variant, which is always done.")
]
Ttl = Annotated[
    int | None,
    typer.Option(help="Seconds after its last use until it is unloaded; -1 for never."),
]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Also when it is in memory: it is unloaded first.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
