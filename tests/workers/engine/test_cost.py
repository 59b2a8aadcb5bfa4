"""What the outputs tell of tokens adds up to what was made, however the requests end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.protocol.outputs import FinishReason, Output
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind, SamplingParams, Text, Work
from cupola.workers.engine.answer import Answer
from tests.examples import examples
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import codec, engine_over, words

pytestmark = pytest.mark.usefixtures("every_draft")

LAST_STEP = 14  # at which something arrives or is aborted


def work(kind: int) -> Work:
    """Requests whose tokens are told late: with stop strings, drafts, several answers."""
    options: dict[str, object] = {"temperature": 0, "max_tokens": 4 + kind % 9}
    if kind % 4 == 1:  # its own text over and over: text for drafts
        options |= {"logit_bias": {token: 60.0 for token in codec().encode("ab")}}
        options |= {"max_tokens": 24}
    if kind % 4 == 2:  # all text is held back: it may be the beginning of the stop string
        options |= {"logit_bias": {codec().encode("a")[0]: 100.0}, "stop": ("a" * 50,)}
    params = SamplingParams(ignore_eos=True, **options)  # type: ignore[arg-type]
    constraint = Constraint(ConstraintKind.REGEX, "[a-z]{30}") if kind % 7 == 3 else None
    answers = 3 if kind % 5 == 4 else 1
    return Work(Text(words(3 + 7 * kind % 50, kind)), params, answers, constraint)


Arrival = st.tuples(
    st.integers(0, 59), st.integers(0, LAST_STEP), st.none() | st.integers(0, LAST_STEP)
)


@pytest.mark.slow
@settings(max_examples=examples(40), deadline=None)
@given(
    requests=st.lists(Arrival, min_size=1, max_size=8),
    failures=st.sets(st.integers(0, 25), max_size=2),
    poisoned=st.integers(0, 12) | st.none(),
)
def test_every_token_is_told_once(requests, failures, poisoned):
    runs, rows = iter(range(10**6)), iter(range(10**6))
    model = FaultySession(
        fails=lambda _: next(runs) in failures, poisons=lambda _: next(rows) == poisoned
    )
    made: Counter[str] = Counter()
    advance = Answer.advance

    def counted(self, token, entry):
        made[self.job.request_id] += 1
        return advance(self, token, entry)

    told: Counter[str] = Counter()
    rejected: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answer, "advance", counted)
        backend = engine_over(model)
        at = 0
        while at <= LAST_STEP or backend.busy or backend.waiting:
            spent = []
            for number, (kind, start, aborted) in enumerate(requests):
                if start == at:
                    backend.add(str(number), work(kind))
                if aborted == at:
                    spent.append(backend.abort(str(number)))
            for output in (*spent, *backend.step()):
                if isinstance(output, Output):
                    assert output.request_id not in rejected
                    told[output.request_id] += output.made
                elif isinstance(output, Rejected):
                    rejected.add(output.request_id)
            at += 1
    assert told == +made


def test_an_aborted_request_tells_what_was_held_back():
    backend = engine_over(FaultySession())
    backend.add("r", work(2))
    first = [*backend.step(), *backend.step(), *backend.step()]
    told = sum(output.made for output in first if isinstance(output, Output))
    spent = backend.abort("r")
    assert spent is not None and spent.finish_reason is FinishReason.ABORT and spent.made > 0
    assert spent.usage is not None and spent.usage.completion_tokens == told + spent.made
    assert backend.abort("r") is None
