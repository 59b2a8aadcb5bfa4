"""The answer to a request that asks for it has the same bits, whatever happens around it.

Every answer is compared with that to the same request alone, from an empty cache, without guesses.
"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.workers.engine.engine import Engine
from cupola.workers.kv.prefix_memory import BLOCK
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.planning.step_budget import StepBudget
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.slots.prefix_cache import PrefixCache
from tests.examples import examples
from tests.workers.engine.traffic import Arrival, alone, arrivals, serve
from tests.workers.faulty_session import FaultySession
from tests.workers.reference import DATA
from tests.workers.tiny import codec, engine_over

pytestmark = pytest.mark.usefixtures("every_draft")

# Of every kind: floats, 4-bit blocks, a window, a cap on scores, two rotary tables.
MODELS = (
    "builder-fp32",
    "builder-int4",
    "qwen3-int4",
    "mistral-fp32",
    "gemma2-int4",
    "gemma3-fp32",
    "phi3-long-int4",
)
VOCABULARY = 128
LARGE = 10**9


@cache
def engine(name: str, width: int, *, drafts: bool = True) -> Engine:
    folder = ModelFolder.read(DATA / name)
    session = DecoderSession(folder, slots=4, width=width, threads=2)
    assert session.serving.reproducible
    session.verifies_drafts = drafts
    # Room for about two of the prompts that slots forget.
    kept = 12 * BLOCK * session.cache.bytes_per_token
    prefixes = PrefixCache(session.cache, kept) if drafts else None
    return Engine(folder, codec(), session, StepBudget(1.0, width), LARGE, prefixes=prefixes)


def check(name: str, width: int, requests: list[Arrival], positions: int = LARGE) -> None:
    busy = engine(name, width)
    busy.slots.clear()
    busy.slots.positions = positions
    asked = {n: r.work for n, r in enumerate(requests) if r.work.sampling.logprobs is not None}
    expected = alone(engine(name, 256, drafts=False), asked)
    for _ in range(2):  # the second time, the prompts are in the cache
        found = serve(busy, requests)
        assert {n: answer for n, answer in found.items() if n in asked} == {
            n: answer for n, answer in expected.items() if n in found
        }


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=examples(8), deadline=None)
@given(requests=arrivals(VOCABULARY, longest=100), width=st.sampled_from([16, 80, 256]))
def test_among_any_others(name: str, requests: list[Arrival], width: int) -> None:
    """Prompts are read in chunks of up to ``width`` tokens, whatever the others leave of it."""
    check(name, width, requests)


@pytest.mark.parametrize("name", ["builder-fp32", "builder-int4"])
@settings(max_examples=examples(10), deadline=None)
@given(requests=arrivals(VOCABULARY, longest=60), positions=st.integers(256, 300))
def test_with_memory_for_few(name: str, requests: list[Arrival], positions: int) -> None:
    """Sequences are preempted, and read what they have generated in chunks."""
    check(name, 16, requests, positions)


@settings(max_examples=examples(12), deadline=None)
@given(requests=arrivals(VOCABULARY, longest=40), failing=st.integers(1, 20))
def test_after_a_run_that_failed(requests: list[Arrival], failing: int) -> None:
    """All sequences begin again, one by one."""
    model = FaultySession()
    model.fails = lambda rows: len(model.runs) == failing
    busy = engine_over(model)
    asked = {n: r.work for n, r in enumerate(requests) if r.work.sampling.logprobs is not None}
    expected = alone(engine("builder-fp32", 256, drafts=False), asked)
    found = serve(busy, requests)
    assert model.rebuilt == (len(model.runs) >= failing)
    assert {n: answer for n, answer in found.items() if n in asked} == {
        n: answer for n, answer in expected.items() if n in found
    }
