"""The flags of the commands that start a service: one for each setting.

They are made when such a command is parsed or its help is shown, so that no other command pays for
loading the settings.
"""

from __future__ import annotations

import os
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

_SHORT = {"port": "-p"}
_SWITCH = ("no", "yes")
_OTHER = "Options"  # the panel of what is no setting, as typer calls it


class SettingCommand(TyperCommand):
    """A command that takes every setting as a flag.

    Its function finds the flags by ``given``. Help shows them in a panel for each group.
    """

    @cached_property
    def flags(self) -> list[TyperOption]:
        from cupola.service.settings.texts import FIELDS

        return [_option(key) for key in sorted(FIELDS, key=_place)]

    # Any: typer brings its own copy of click from some version on.
    def get_params(self, ctx: Any) -> list[Any]:
        return [*self.flags, *super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        return super().parse_args(ctx, with_values(args))

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = {flag.name: ctx.params.pop(flag.name) for flag in self.flags}
        # For this process, and for the service that it starts: the cache reads them by itself.
        for key in ("home", "catalogs", "aliases", "download_rate_mb", "workers"):
            if ctx.obj[key] is not None:
                os.environ[f"CUPOLA_{key.upper()}"] = str(ctx.obj[key])
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The plain help, with the same panels as on a terminal."""
        for panel, params in groupby(self.get_params(ctx), _panel):
            records = filter(None, (param.get_help_record(ctx) for param in params))
            with formatter.section(panel):
                formatter.write_dl(list(records))


def given(context: typer.Context) -> dict[str, Any]:
    """The settings on the command line of a SettingCommand, by key; None: not given."""
    return dict(context.obj)


def with_values(arguments: list[str]) -> list[str]:
    """A setting that is no or yes needs no value on the command line: ``--insecure`` is yes."""
    from cupola.service.settings.texts import FIELDS, choices, flag

    switches = {flag(key) for key in FIELDS if choices(key) == _SWITCH}
    complete: list[str] = []
    for argument, following in pairwise([*arguments, ""]):
        complete.append(argument)
        if argument in switches and following not in _SWITCH:
            complete.append("yes")
    return complete


def _place(key: str) -> int:
    from cupola.service.settings.texts import Group, group

    return list(Group).index(group(key))


def _panel(param: Any) -> str:
    return getattr(param, "rich_help_panel", None) or _OTHER


def _option(key: str) -> TyperOption:
    from cupola.service.settings.texts import FIELDS, choices, default, flag, group, meaning

    kind = FIELDS[key].annotation
    names = [key, flag(key), *filter(None, [_SHORT.get(key)])]
    return TyperOption(
        param_decls=names,
        type=kind if kind in (int, float) else str,
        default=None,
        metavar=f"<{'|'.join(choices(key))}>" if choices(key) else None,
        autocompletion=(lambda *_: choices(key)) if choices(key) else None,
        help=f"{meaning(key)} Default: {default(key)}.",
        rich_help_panel=group(key).capitalize(),
    )
