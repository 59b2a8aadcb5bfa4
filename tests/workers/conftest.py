"""The books of every engine are looked at after every step of every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cupola.workers.engine.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def stepped() -> Iterator[set[Engine]]:
    """The engines that have been stepped since this set was last emptied."""
    engines: set[Engine] = set()
    step = Engine.step

    def checked(self: Engine):
        engines.add(self)
        told = step(self)
        assert not self.violations()
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "step", checked)
        yield engines


@pytest.fixture(autouse=True)
def idle_in_the_end(stepped: set[Engine]) -> Iterator[None]:
    """Nothing runs or waits after a test, and no slot is held."""
    stepped.clear()
    yield
    for engine in stepped:
        assert not engine.violations()
        assert not engine._running and not engine._waiting
        assert engine._seating.table.free == len(engine._seating.table.slots)
        assert not engine._masks.pending
        assert engine._recovery.suspect is None
        engine._seating.forget_all()
        assert engine._seating.committed == 0


@pytest.fixture(scope="module")
def daring() -> Iterator[None]:
    """Whatever may be guessed is, also where it would not pay: there is more to go wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cupola.workers.engine.speculation.worth", lambda sequences: 0.05)
        patch.setattr("cupola.workers.engine.speculation.pays", lambda *_: True)
        yield
