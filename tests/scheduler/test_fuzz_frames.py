"""Some mutated frames at each socket. Many more by hand: ``tests.fuzz_frames``."""

from __future__ import annotations

import random

import pytest

from cupola.scheduler.protocol.messages import MalformedFrameError, decode_to_scheduler
from tests.fuzz_frames import FUZZERS, mutated


@pytest.mark.slow
@pytest.mark.parametrize("process", FUZZERS)
def test_mutated_frames_end_no_process(process: str) -> None:
    account = FUZZERS[process](2_000)
    assert account.sent == 2_000
    assert 0 < account.messages < account.sent


def test_the_mutations_reach_both_sides_of_the_decoder() -> None:
    rng, refused = random.Random(1), 0
    for _ in range(1_000):
        try:
            decode_to_scheduler(mutated(rng))
        except MalformedFrameError:
            refused += 1
    assert 500 < refused < 1_000
