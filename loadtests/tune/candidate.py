"""Settings that are tried. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product

AUTO = 0  # slots: the engine learns how many are best
SLOTS = (4, 8, 16, 32, 64)
STEP_TOKENS = (128, 256, 512)


@dataclass(frozen=True, slots=True)
class Candidate:
    """``threads`` are of all workers together. ``model`` is a variant's id."""

    workers: int
    threads: int
    slots: int
    step_tokens: int
    model: str

    @property
    def text(self) -> str:
        few = f"{self.workers} worker{'s' * (self.workers > 1)}, {self.threads} threads"
        slots = "slots 'auto'" if self.slots == AUTO else f"{self.slots} slots"
        return f"{few}, {slots}, steps of {self.step_tokens}"

    @property
    def settings(self) -> dict[str, object]:
        """By the names of Cupola's settings."""
        return {
            "workers": self.workers,
            "threads": self.threads,
            "slots": "auto" if self.slots == AUTO else self.slots,
            "step_tokens": self.step_tokens,
            "model": self.model,
        }

    def toml(self, comments: Sequence[str] = ()) -> str:
        """A fragment of cupola.toml."""
        lines = [f"# {comment}" for comment in comments]
        for key, value in self.settings.items():
            as_text = key == "workers" or isinstance(value, str)
            text = f'"{value}"' if as_text else f"{value}"
            lines.append(f"{key} = {text}")
        return "\n".join(lines) + "\n"

    def distance(self, other: Candidate) -> int:
        """In how many settings they differ."""
        names = [field.name for field in fields(self)]
        return sum(getattr(self, name) != getattr(other, name) for name in names)


def grid(cores: int, clients: int, models: Sequence[str]) -> list[Candidate]:
    """All that are worth a thought on so many cores, for so many clients at once."""
    workers = [count for count in (1, 2, 4, 8, 16, 32) if count <= cores]
    threads = sorted({cores, max(1, cores - 1)})
    # More slots than clients change nothing; fewer let them wait.
    enough = min((slots for slots in SLOTS if slots >= clients), default=SLOTS[-1])
    slots = [AUTO, *[each for each in SLOTS if each <= enough][-2:]]
    return [
        Candidate(*chosen)
        for chosen in product(workers, threads, slots, STEP_TOKENS, models)
        if chosen[0] <= chosen[1]
    ]
