"""Finds the children that hang: those that have not said for too long that their loop turns.

Pure: it is told what happened and when.
"""

from __future__ import annotations

from dataclasses import dataclass

from cupola.scheduler.protocol.commands import LONG_TURN


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a child may be silent, in seconds.

    Its loop speaks every second, but a step of a large model on a slow machine is one turn of the
    loop. The scheduler stops sending work to a worker that is silent for ten seconds. To kill it
    costs a load of its models, so ``silence`` is several times that.
    """

    silence: float = 60.0
    # If it has said that its next turn may be long, and at its start, when it reads its program
    # from the disk. onnxruntime-genai blocks every thread of a worker while it loads a model.
    long_turn: float = 600.0


@dataclass(slots=True)
class _Watched:
    limit: float
    heard_at: float

    @property
    def deadline(self) -> float:
        return self.heard_at + self.limit


class Watchdog:
    """The children by name, and until when each must be heard."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._watched: dict[str, _Watched] = {}
        self._looked_at: float | None = None

    def started(self, name: str, now: float) -> None:
        """A new process of the child; it has said nothing yet."""
        self._watched[name] = _Watched(self._patience.long_turn, now)

    def heard(self, name: str, line: str, now: float) -> None:
        """The child has sent a line. Any line shows that it lives."""
        if child := self._watched.get(name):
            is_long = line == LONG_TURN
            child.limit = self._patience.long_turn if is_long else self._patience.silence
            child.heard_at = now

    def ended(self, name: str) -> None:
        """The process of the child is gone."""
        self._watched.pop(name, None)

    def overdue(self, now: float) -> list[tuple[str, float]]:
        """The children that hang, each once, and for how many seconds each has been silent.

        Call it after the lines that have come were heard, and not later than ``next_look``. If it
        is called later, this process was itself stopped (Ctrl+Z, a debugger), and perhaps the
        children too: then all get their whole time again.
        """
        if self._looked_at is not None and now - self._looked_at > self._patience.silence / 2:
            for child in self._watched.values():
                child.heard_at = now
        self._looked_at = now
        late = [(n, now - c.heard_at) for n, c in self._watched.items() if c.deadline <= now]
        for name, _ in late:
            del self._watched[name]
        return late

    def next_look(self, now: float) -> float:
        """When ``overdue`` must be called again."""
        deadlines = [child.deadline for child in self._watched.values()]
        return min([now + self._patience.silence / 4, *deadlines])
