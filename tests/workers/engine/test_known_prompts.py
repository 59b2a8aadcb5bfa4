"""What follows a prompt does not depend on how much of the prompt is cached, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.workers.tiny import drain, engine, greedy, words


@pytest.mark.parametrize("name", ["builder-fp32", "builder-int4"])
@settings(max_examples=examples(25), deadline=None)
@given(length=st.integers(1, 70), seed=st.integers(0, 99))
def test_the_first_token_after_a_known_prompt_is_the_same(
    name: str, length: int, seed: int
) -> None:
    backend = engine(name)
    backend.slots.clear()
    answers, cached = [], []
    for number in range(3):
        request = greedy(words(length, seed), 1, ignore_eos=True, logprobs=3)
        backend.add(str(number), request)
        outputs = drain(backend)[str(number)]
        answers.append(answer_of(outputs))
        cached.append(outputs[-1].usage.cached_tokens)
    assert answers[0] == answers[1] == answers[2]
    assert cached[0] == 0
    if length > 8:
        assert cached[1] == cached[2] > 0


def answer_of(outputs: list[Any]) -> tuple[str, list[tuple[bytes, float]]]:
    """The text, and the most probable tokens with their log probabilities."""
    (token,) = [token for output in outputs for token in output.logprobs]
    assert len(token.top) == 3
    return "".join(output.text for output in outputs), list(token.top)
