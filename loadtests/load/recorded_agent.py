"""A coding agent's session, written down: what it read, changed and ran, turn by turn.

Each turn is a request of its own, whose prompt holds all turns before. So contexts grow, most of a
prompt was there before, and answers repeat what stands in files and results: the load of agents.
The session goes on with the answer that is written here, whatever the server answered, so that all
servers read the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

SYSTEM = (
    "You are a careful programmer who works in a small repository. Answer with exactly one call of "
    'a tool, as JSON: {"tool": NAME, "arguments": {...}}. The tools are '
    '{"tool": "read_file", "arguments": {"path": "...", "first_line": 1}}, '
    '{"tool": "edit_file", "arguments": {"path": "...", "old": "...", "new": "..."}}, '
    '{"tool": "run_tests", "arguments": {"path": "..."}} and '
    '{"tool": "search", "arguments": {"text": "..."}}. After each call you get its result.'
)
_THINGS = ("loan", "order", "ticket", "parcel", "invoice", "booking", "recipe", "lesson")
_FIELDS = ("limit", "price", "days", "weight", "seats", "amount", "pages", "minutes")
_READ = 3  # functions that a read shows
_VERBS = ("extend", "cancel", "count", "merge", "renew", "close", "split", "check")


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """A call of the agent, and what came of it."""

    call: str
    result: str


def session(chance: Random, turns: int) -> tuple[str, list[AgentTurn]]:
    """The task, and so many turns: a read, an edit, a run and a search, over and over."""
    project = _Project(chance)
    steps = (project.read, project.edit, project.run, project.search)
    return project.task, [
        steps[number % len(steps)](number // len(steps)) for number in range(turns)
    ]


class _Project:
    """A module of one class, whose functions have no checks of their arguments yet."""

    def __init__(self, chance: Random) -> None:
        self._thing, self._field = chance.choice(_THINGS), chance.choice(_FIELDS)
        self._verbs = chance.sample(_VERBS, 6)
        self._path = f"shop/{self._thing}s.py"
        self._tests = f"tests/test_{self._thing}s.py"
        self._numbers = [chance.randint(2, 60) for _ in self._verbs]
        self.task = (
            f"Ticket {chance.randint(1000, 9999)}: the functions of {self._path} take a negative "
            f"{self._field} and go on. Make each of them raise a ValueError that names the "
            f"{self._thing}, and keep {self._tests} green."
        )

    def read(self, round_: int) -> AgentTurn:
        first = 8 + 9 * self._at(round_)
        arguments = {"path": self._path, "first_line": first}
        lines = "\n".join(
            self._function(at, fixed=at < round_)
            for at in range(self._at(round_), len(self._verbs))[:_READ]
        ).splitlines()
        text = "\n".join(f"{first + number:4} {line}" for number, line in enumerate(lines))
        return AgentTurn(_call("read_file", arguments), text)

    def edit(self, round_: int) -> AgentTurn:
        at = self._at(round_)
        arguments = {
            "path": self._path,
            "old": self._function(at, fixed=False),
            "new": self._function(at, fixed=True),
        }
        result = {"ok": True, "path": self._path, "replaced": 1, "lines_added": 2}
        return AgentTurn(_call("edit_file", arguments), json.dumps(result))

    def run(self, round_: int) -> AgentTurn:
        results = [
            {
                "test": f"{self._tests}::test_{verb}_{self._thing}",
                "outcome": "passed" if at <= round_ else "failed",
                "message": "" if at <= round_ else f"ValueError not raised for {self._field} -1",
            }
            for at, verb in enumerate(self._verbs)
        ]
        report = {"passed": min(round_ + 1, 6), "failed": max(5 - round_, 0), "tests": results}
        return AgentTurn(_call("run_tests", {"path": self._tests}), json.dumps(report, indent=1))

    def search(self, round_: int) -> AgentTurn:
        verb = self._verbs[self._at(round_ + 1)]
        found = [
            {"path": path, "line": 11 + 9 * self._at(round_), "text": f"{verb}_{self._thing}("}
            for path in (self._path, self._tests, "shop/views.py", "shop/admin.py")
        ]
        call = _call("search", {"text": f"{verb}_{self._thing}"})
        return AgentTurn(call, json.dumps({"found": found}, indent=1))

    def _at(self, round_: int) -> int:
        return round_ % len(self._verbs)

    def _function(self, at: int, fixed: bool) -> str:
        verb, thing, field = self._verbs[at], self._thing, self._field
        check = (
            f"    if {field} < 0:\n"
            f"        raise ValueError("
            f'f"{thing} {{{thing}.number}}: {field} {{{field}}} is negative")\n'
        )
        return (
            f"def {verb}_{thing}({thing}: {thing.title()}, {field}: int = {self._numbers[at]}) -> "
            f"{thing.title()}:\n"
            f'    """{verb.title()} a {thing} that is open."""\n'
            f"{check if fixed else ''}"
            f"    if not {thing}.is_open:\n"
            f'        raise {thing.title()}Error(f"{thing} {{{thing}.number}} is closed")\n'
            f"    {thing}.{field} = {thing}.{field} + {field}\n"
            f'    {thing}.log.append(("{verb}", {field}))\n'
            f"    return {thing}\n"
        )


def _call(tool: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})
