"""A tiny engine for the tests, requests for it, and the answers that they should have."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import wait
from functools import cache
from typing import Any

from cupola.cache.catalog import ExecutionProvider
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import LocalModel, SamplingParams, Text, Work
from cupola.workers.engine.answer import Answer
from cupola.workers.engine.engine import Engine
from cupola.workers.engine.sequence import Reproducible
from cupola.workers.engine_options import EngineOptions
from cupola.workers.loading import load
from cupola.workers.model.model_folder import ModelFolder
from cupola.workers.model.text import TextCodec
from cupola.workers.planning.step_budget import StepBudget
from cupola.workers.run.decoder_session import DecoderSession
from cupola.workers.run.session import Session
from cupola.workers.slots.prefix_cache import PrefixCache
from tests.workers.reference import DATA, plain_decoder

NAME = "builder-fp32"
SLOTS, BUDGET, CONTEXT = 4, 16, 256
LETTERS = "abcdefghijklmnopqrstuvwxyz "


@cache
def engine(name: str = NAME) -> Engine:
    """Made once and shared by the tests, which leave it idle."""
    model = LocalModel(name, str(DATA / name), ExecutionProvider.CPU)
    backend = load(model, EngineOptions(slots=SLOTS, step_tokens=BUDGET))
    assert isinstance(backend, Engine)
    return backend


@cache
def folder() -> ModelFolder:
    return ModelFolder.read(DATA / NAME)


@cache
def codec() -> TextCodec:
    return TextCodec(DATA / NAME)


def session(slots: int = SLOTS, width: int = BUDGET) -> DecoderSession:
    return DecoderSession(folder(), slots=slots, width=width, threads=1)


def engine_over(
    model: Session,
    positions: int = 10**9,
    of: ModelFolder | None = None,
    wake: Callable[[], None] = lambda: None,
    reproducible: Reproducible = "asked",
    prefixes: PrefixCache | None = None,
    warms_up: bool = True,
    spare: int = 0,
) -> Engine:
    """An engine of the test's own."""
    return Engine(
        of or folder(),
        codec(),
        model,
        StepBudget(1.0, BUDGET),
        positions,
        wake,
        reproducible,
        prefixes=prefixes,
        spare=spare,
        warms_up=warms_up,
    )


def small_memory(positions: int) -> Engine:
    """The shared engine with nothing cached and room for so many positions."""
    backend = engine()
    backend.slots.positions = positions
    backend.slots.clear()
    return backend


def words(count: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(LETTERS, k=count))


def decode(tokens: list[int]) -> str:
    detokenizer = codec().detokenizer()
    return "".join(map(detokenizer.feed, tokens)) + detokenizer.flush()


def alone(prompt: str, count: int) -> str:
    """The greedy answer to a prompt by the plainest means."""
    return decode(plain_decoder(NAME).generate(codec().encode(prompt), count))


def greedy(prompt: str, count: int, **options: Any) -> Work:
    return Work(Text(prompt), SamplingParams(temperature=0, max_tokens=count, **options))


def step(backend: Engine) -> list[Any]:
    """One step: an ``Output`` for each sequence that has one, or a ``Rejected``."""
    return list(backend.step())


def drain(backend: Engine) -> dict[str, list[Any]]:
    """Step until nothing is left. Outputs by request; the last of them may be a ``Rejected``."""
    made: dict[str, list[Any]] = {}
    while backend.busy:
        for output in backend.step():
            made.setdefault(output.request_id, []).append(output)
    return made


def drain_waiting(backend: Engine) -> dict[str, list[Any]]:
    """The same, waiting for grammars to be compiled."""
    for sequence in list(backend.waiting):
        if isinstance(sequence, Answer) and sequence.grammar is not None:
            wait([sequence.grammar])
    return drain(backend)


def text(outputs: list[Output]) -> str:
    return "".join(output.text for output in outputs)
