"""What is computed once: prompts of several answers, beginnings that requests share, earlier turns.

Counted are the tokens that the runs of the model held.
"""

from __future__ import annotations

import sys

import msgspec
import pytest

from cupola.scheduler.protocol.outputs import Usage
from cupola.scheduler.protocol.tasks import SamplingParams, Text, Work
from cupola.workers.engine.slot_allocation import LEAST_READ, WORTH_WAITING
from cupola.workers.kv.sharing_cache import SharingCache
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import (
    BUDGET,
    LETTERS,
    SLOTS,
    codec,
    drain,
    engine_over,
    greedy,
    small_memory,
    text,
    words,
)

PROMPT, COUNT = 90, 8


@pytest.fixture
def model() -> FaultySession:
    return FaultySession()


@pytest.mark.parametrize("answers", [1, 2, SLOTS, 2 * SLOTS])
def test_several_answers_read_their_prompt_once(model: FaultySession, answers: int):
    """``n``, and ``best_of``, which the gateway turns into as many answers."""
    backend = engine_over(model)
    params = SamplingParams(temperature=1.5, seed=3, max_tokens=COUNT, ignore_eos=True)
    backend.add("r", Work(Text(words(PROMPT, 1)), params, answers=answers))
    outputs = drain(backend)["r"]
    usage = outputs[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (PROMPT, answers * COUNT)
    drafted = usage.accepted_prediction_tokens + usage.rejected_prediction_tokens
    # One answer reads the prompt, the others its last token only; each token made is run, but the
    # last of each answer.
    made = answers * (COUNT - 1) - usage.accepted_prediction_tokens
    assert model.tokens == PROMPT + LEAST_READ * (answers - 1) + made + drafted
    assert usage.cached_tokens == 0
    texts = {text([o for o in outputs if o.index == index]) for index in range(answers)}
    assert len(texts) == answers


def test_a_beginning_that_many_share_is_read_once(model: FaultySession):
    backend = engine_over(model)
    prefix = words(120, 60)
    for number in range(3 * SLOTS):
        backend.add(str(number), greedy(prefix + words(5, number), 1, ignore_eos=True))
    made = drain(backend)
    cached = [made[str(number)][-1].usage.cached_tokens for number in range(3 * SLOTS)]
    assert cached[0] == 0
    assert min(cached[1:]) > 120 - WORTH_WAITING
    assert model.tokens == sum(125 - hit for hit in cached)


def test_prompts_that_arrive_together_share_a_run(model: FaultySession):
    backend = engine_over(model)
    for number in range(3):
        backend.add(str(number), greedy(words(BUDGET // 3, number), 1, ignore_eos=True))
    drain(backend)
    assert [len(rows) for rows in model.runs] == [3]


def test_a_conversation_reads_only_what_is_new(model: FaultySession):
    """Turn after turn, beside another conversation: no text is read twice."""
    backend = engine_over(model)
    letters = {token: 60.0 for token in codec().encode(LETTERS)}  # their text is their tokens
    texts = {"a": words(40, 1), "b": words(30, 2)}
    for turn in range(3):
        for name in texts:
            before = model.tokens
            backend.add(name, greedy(texts[name], 6, ignore_eos=True, logit_bias=letters))
            outputs = drain(backend)[name]
            usage = outputs[-1].usage
            new = len(texts[name]) - usage.cached_tokens
            # The last token of an answer is drawn and not run: it is new to the next turn.
            assert new == (1 + 9 if turn else len(texts[name]))
            # Draft tokens that are right are run in place of the tokens that follow.
            assert model.tokens - before == new + 5 + usage.rejected_prediction_tokens
            texts[name] = texts[name] + text(outputs) + words(9, 10 * turn)


def test_cached_tokens_are_those_that_were_not_run(model: FaultySession):
    backend = engine_over(model)
    for number, length in enumerate((80, 80, 20, 100)):
        before = model.tokens
        backend.add("r", greedy(words(100, 5)[:length], 1, ignore_eos=True))
        usage = drain(backend)["r"][-1].usage
        assert model.tokens - before == length - usage.cached_tokens
        assert (usage.cached_tokens > 0) == (number > 0)
        assert usage.cached_tokens <= length - min(length, LEAST_READ)


def test_no_salt_sees_what_another_has_read(model: FaultySession):
    """Neither in the usage nor in the time it takes: as many tokens are run as if it were new,
    and nobody waits for what another salt is about to read."""
    backend = engine_over(model)
    work = greedy(words(80, 70), 2, ignore_eos=True)
    mine = msgspec.structs.replace(work, cache_salt="mine")
    backend.add("mine", mine)
    backend.step()
    for name in ("while it is read", "afterwards"):
        backend.add(name, msgspec.structs.replace(work, cache_salt=name))
        backend.step()
        assert not backend.waiting
        assert drain(backend)[name][-1].usage == Usage(80, 2)
    assert model.tokens == 3 * (80 + 1)
    backend.add("mine", mine)
    assert drain(backend)["mine"][-1].usage.cached_tokens == 80 - LEAST_READ


@pytest.mark.skipif(sys.platform != "linux", reason="pages are shared on Linux only")
def test_what_several_share_is_in_memory_once():
    backend = small_memory(10**9)
    cache = backend.session.cache
    assert isinstance(cache, SharingCache)
    page = cache.page
    prefix = words(3 * page - 20, 60)
    for number in range(3):
        backend.add(str(number), greedy(prefix + LETTERS[number], 4, ignore_eos=True))
    backend.add("other", greedy(words(20, 61), 4, ignore_eos=True))
    drain(backend)
    table = backend.slots.table
    saved = sum(slot.touched for slot in table.slots) - backend.slots.committed
    assert saved == 4 * page
    assert backend.shared_bytes == saved * cache.bytes_per_token
    backend.slots.clear()
    assert backend.shared_bytes == 0
