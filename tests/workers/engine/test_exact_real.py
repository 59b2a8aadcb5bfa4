"""The same as ``test_exact``, on the default model: all ways to run a step in any order."""

from __future__ import annotations

import random
import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

from cupola.cache.home import Home
from cupola.workers.device.device import CPU
from cupola.workers.engine.engine import Engine
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.text import TextCodec
from cupola.workers.planning.step_budget import StepBudget
from cupola.workers.run.autotune import Autotune
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.prepacked import PrepackedWeights
from tests.examples import examples
from tests.workers.engine.traffic import Arrival, alone, arrivals, serve

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("every_draft")]

VOCABULARY = 40_000
WIDTH = 256
LARGE = 10**9


class AnyWay(Autotune):
    """Knows nothing, and takes any way."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(1)

    def choose(
        self, kind: Hashable, ways: Mapping[str, float], alike: Iterable[Hashable] = ()
    ) -> str:
        return self._chance.choice(list(ways))

    def observe(self, kind: Hashable, way: str, seconds: float) -> None: ...


class Engines(NamedTuple):
    busy: Engine  # has every way
    plain: Engine  # has one session, and guesses nothing


def engine(path: Path, lanes: PrepackedWeights | None = None, *, drafts: bool = True) -> Engine:
    folder = ModelFolder.read(path)
    threads, blocks = (2, 2**30) if lanes else (1, 0)
    session = DecoderSession(
        folder,
        slots=8,
        width=WIDTH,
        threads=threads,
        lanes=lanes,
        block_bytes=blocks,
        autotune=AnyWay(),
    )
    session.wait()
    assert session.serving.reproducible
    session.verifies_drafts = drafts
    return Engine(folder, TextCodec(path), session, StepBudget(1.0, WIDTH), LARGE)


@pytest.fixture(scope="module", params=["int8", "w8a8", "fp32"])
def engines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    path: Path = request.getfixturevalue(f"real_model_{request.param}")
    home = Home(tmp_path_factory.mktemp("home"))
    copied = home.models / "maker" / "copied-1"
    shutil.copytree(path, copied)
    lanes = PrepackedWeights(home, copied, CPU)
    yield Engines(engine(copied, lanes), engine(path, drafts=False))
    shutil.rmtree(home.root)


@settings(
    max_examples=examples(2),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(requests=arrivals(VOCABULARY, longest=290))
def test_among_any_others(engines: Engines, requests: list[Arrival]) -> None:
    engines.busy.slots.clear()
    asked = {n: r.work for n, r in enumerate(requests) if r.work.sampling.logprobs is not None}
    expected = alone(engines.plain, asked)
    for _ in range(2):
        found = serve(engines.busy, requests)
        assert {n: answer for n, answer in found.items() if n in asked} == {
            n: answer for n, answer in expected.items() if n in found
        }
