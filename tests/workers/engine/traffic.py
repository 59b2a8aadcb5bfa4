"""Requests that come and go at any time, and what each of them is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from cupola.scheduler.protocol.outputs import Output, TokenLogprob
from cupola.scheduler.protocol.tasks import SamplingParams, Tokens, Work
from cupola.workers.engine.engine import Engine

# Its tokens and the most probable ones in their places, with log-probabilities to the last bit.
Answer = list[TokenLogprob]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request, the step in which it arrives, and the one in which it is aborted, if it is."""

    work: Work
    at: int = 0
    aborted: int | None = None


def asking(tokens: list[int], count: int, seed: int | None, prediction: str = "") -> Work:
    """A request that must have the same answer again: by its seed, or at temperature 0."""
    params = SamplingParams(
        temperature=0.0 if seed is None else 1.5,
        seed=seed,
        max_tokens=count,
        ignore_eos=True,
        logprobs=2,
    )
    return Work(Tokens(tuple(tokens)), params, prediction=prediction)


def not_asking(tokens: list[int], count: int) -> Work:
    """A request whose answer may be any."""
    params = SamplingParams(temperature=0.7, max_tokens=count, ignore_eos=True)
    return Work(Tokens(tuple(tokens)), params)


@st.composite
def arrivals(draw: st.DrawFn, vocabulary: int, longest: int, most: int = 7) -> list[Arrival]:
    """Some requests, most of whose prompts begin alike; at least one asks for its answer."""
    made = []
    for number in range(draw(st.integers(1, most))):
        shared, own = draw(st.integers(0, longest)), draw(st.integers(1, longest // 2))
        text = [(5 * place * place + 3 * place + 1) % vocabulary for place in range(shared)]
        text += [(place * (number + 7) + number) % vocabulary for place in range(own)]
        count = draw(st.integers(1, 14))
        if number and draw(st.booleans()):
            work = not_asking(text, count)
        else:
            seed = draw(st.none() | st.integers(0, 3))
            work = asking(text, count, seed, draw(st.sampled_from(["", "abcabcabc"])))
        aborted = draw(st.none() | st.none() | st.integers(1, 14))
        made.append(Arrival(work, draw(st.integers(0, 10)), aborted if number else None))
    return made


def serve(engine: Engine, requests: Iterable[Arrival]) -> dict[int, Answer]:
    """The answers of the requests that were not aborted, by their number."""
    left = dict(enumerate(requests))
    answers: dict[int, Answer] = {}
    step = 0
    while step <= 14 or engine.busy:
        for number, request in left.items():
            if request.at == step:
                engine.add(str(number), request.work)
            if request.aborted == step:
                engine.abort(str(number))
        for output in engine.step():
            assert isinstance(output, Output)
            answers.setdefault(int(output.request_id), []).extend(output.logprobs)
        step += 1
    return {n: answer for n, answer in answers.items() if left[n].aborted is None}


def alone(engine: Engine, works: Mapping[int, Work]) -> dict[int, Answer]:
    """The answer to each of some requests if there is no other, and nothing in the cache."""
    answers = {}
    for number, work in works.items():
        engine.slots.clear()
        engine.add(str(number), work)
        made: Answer = []
        while engine.busy:
            for output in engine.step():
                assert isinstance(output, Output)
                made += output.logprobs
        answers[number] = made
    return answers
