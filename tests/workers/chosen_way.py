"""An autotuner that takes the way that a test chooses."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from cupola.workers.run.autotune import Autotune


class ChosenWay(Autotune):
    """Takes the last way if ``other`` is set, else the first one, and never gives a way up."""

    def __init__(self, *, other: bool = True) -> None:
        super().__init__()
        self.other = other
        self.taken = 0  # how often the other way was taken

    def choose(
        self, kind: Hashable, ways: Mapping[str, float], alike: Iterable[Hashable] = ()
    ) -> str:
        self.taken += self.other
        return list(ways)[-1 if self.other else 0]

    def observe(self, kind: Hashable, way: str, seconds: float) -> None:
        assert seconds > 0
