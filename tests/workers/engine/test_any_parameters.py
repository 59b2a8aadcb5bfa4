"""Whatever parameters a request has, it ends, and who runs beside it does not notice."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import SamplingParams, Text, Work
from tests.examples import examples
from tests.workers.tiny import alone, drain, engine, greedy, text, words

TINY, HUGE = 1e-300, 2**62
share = st.sampled_from([TINY, 1e-6, 0.5, 1 - 1e-12, 1.0])
counts = st.sampled_from([0, 1, 2, 319, 320, 321, HUGE])
ids = st.sampled_from([0, 97, 258, 259, 319, 320, 10**6, HUGE])
penalty = st.sampled_from([-2.0, -TINY, 0.0, 0.3, 2.0])


@st.composite
def parameters(draw: st.DrawFn) -> SamplingParams:
    """As far as the gateway lets them through, and further."""
    return SamplingParams(
        max_tokens=draw(st.integers(1, 9)),
        min_tokens=draw(counts),
        temperature=draw(st.sampled_from([None, 0.0, TINY, 1e-4, 0.3, 1.0, 2.0, 1e30])),
        top_p=draw(st.none() | share),
        top_k=draw(st.none() | counts),
        min_p=draw(st.sampled_from([0.0, TINY, 0.1, 1.0])),
        typical_p=draw(share),
        frequency_penalty=draw(penalty),
        presence_penalty=draw(penalty),
        repetition_penalty=draw(st.sampled_from([TINY, 0.5, 1.0, 10.0])),
        logit_bias=draw(st.dictionaries(st.integers(0, 319), st.sampled_from([-100.0, 100.0]))),
        seed=draw(st.sampled_from([None, 0, -(2**63), 2**63 - 1])),
        stop=draw(st.sampled_from([(), ("a",), ("\N{REPLACEMENT CHARACTER}", "b" * 500)])),
        stop_token_ids=tuple(draw(st.lists(ids, max_size=3))),
        ignore_eos=draw(st.booleans()),
        logprobs=draw(st.sampled_from([None, 0, 5, 320, 1000])),
    )


@settings(max_examples=examples(60), deadline=None)
@example(SamplingParams(max_tokens=5, min_tokens=3, stop_token_ids=(10**6,)), 1)
@given(parameters(), st.integers(1, 3))
def test_a_request_ends_and_its_neighbour_is_as_if_alone(params, answers):
    backend = engine()
    backend.add("neighbour", greedy(words(20, 1), 9, ignore_eos=True))
    backend.add("r", Work(Text("abcabcab"), params, answers=answers))
    made = drain(backend)
    assert text(made["neighbour"]) == alone(words(20, 1), 9)
    assert all(isinstance(output, Output) for output in made["r"])
    assert sum(output.finish_reason is not None for output in made["r"]) == answers
    assert made["r"][-1].last
