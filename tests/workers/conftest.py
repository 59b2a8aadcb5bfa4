"""After every step of every test, the state of the engine is checked for inconsistencies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.protocol.outputs import Output
from cupola.workers.engine.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def stepped() -> Iterator[set[Engine]]:
    """The engines that have been stepped since this set was last emptied."""
    engines: set[Engine] = set()
    step = Engine.step

    def checked(self: Engine) -> list[Output | Rejected]:
        engines.add(self)
        outputs = step(self)
        assert not self.violations()
        return outputs

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
        assert not engine.running and not engine.waiting
        assert engine.slots.free == len(engine.slots.table.slots)
        engine.slots.clear()
        assert engine.slots.committed == 0


@pytest.fixture(scope="module")
def every_draft() -> Iterator[None]:
    """Drafts are made and verified even if they do not pay, so that more can go wrong."""
    with pytest.MonkeyPatch.context() as patch:
        planner = "cupola.workers.engine.draft_planner"
        patch.setattr(f"{planner}.min_probability", lambda sequences: 0.05)
        patch.setattr(f"{planner}.worth_verifying", lambda *_: True)
        yield
