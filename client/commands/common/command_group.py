"""A group of commands that says what is unknown, and what may have been meant."""

from __future__ import annotations

import difflib
from typing import Any

from typer.core import TyperGroup

_NEAR = 0.7  # how alike two names are that are taken for one


class CommandGroup(TyperGroup):
    """Says it in Foundry Local's words."""

    # Any: typer brings its own copy of click from some version on.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            known = ", ".join(key for key, each in self.commands.items() if not each.hidden)
            ctx.fail(
                f"Unrecognized command or argument '{args[0]}'.{self._meant(ctx, args[0])}\n"
                f"Hint: Run '{ctx.find_root().info_name} --help' to see usage. There are: {known}"
            )
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: Any, unknown: str) -> str:
        """The commands of that name in the groups below, else the nearest one of this group."""
        found = [
            f"{name} {unknown}"
            for name, each in self.commands.items()
            if isinstance(each, TyperGroup) and unknown in each.commands
        ] or difflib.get_close_matches(unknown, self.commands, n=1, cutoff=_NEAR)
        if not found:
            return ""
        *others, last = (f"'{ctx.command_path} {each}'" for each in found)
        text = f"{', '.join(others)} or {last}" if others else last
        return f" Did you mean {text}?"
