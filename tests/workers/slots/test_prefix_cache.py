"""Prompts outlive their slots: they are found in memory again, with the same bits."""

from __future__ import annotations

import msgspec
import pytest

from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    Question,
    QuestionKind,
    SamplingParams,
    Tokens,
    Work,
)
from cupola.workers.engine.engine import Engine
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.prefix_memory import BLOCK, PrefixMemory
from cupola.workers.slots.prefix_cache import PrefixCache
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import SLOTS, drain, engine_over, greedy, session, text, words

LENGTH, COUNT, PROMPTS = 5 * BLOCK + 7, 6, 10 * SLOTS


def engine(model: FaultySession, blocks: int) -> Engine:
    """An engine that keeps so many blocks outside its slots."""
    cache = model.cache
    return engine_over(
        model, prefixes=PrefixCache(cache, blocks * BLOCK * model.cache.bytes_per_token)
    )


def work(number: int, salt: str = "") -> Work:
    asked = greedy(words(LENGTH, number), COUNT, ignore_eos=True, logprobs=2)
    return msgspec.structs.replace(asked, cache_salt=salt)


def ask(backend: Engine, task: Work) -> tuple[object, int]:
    """What is answered, with all log-probabilities, and how many tokens were cached."""
    backend.add("r", task)
    outputs = drain(backend)["r"]
    assert not any(isinstance(output, Rejected) for output in outputs)
    entries = [entry for output in outputs for entry in output.logprobs]
    return (text(outputs), entries), outputs[-1].usage.cached_tokens


@pytest.mark.slow
def test_forty_prompts_are_found_again_behind_four_slots() -> None:
    model = FaultySession()
    backend = engine(model, PROMPTS * (LENGTH // BLOCK + 1))
    first = [ask(backend, work(number)) for number in range(PROMPTS)]
    assert max(cached for _, cached in first) < BLOCK
    before = model.tokens
    again = [ask(backend, work(number)) for number in range(PROMPTS)]
    assert [answer for answer, _ in again] == [answer for answer, _ in first]
    assert min(cached for _, cached in again) >= LENGTH // BLOCK * BLOCK
    assert model.tokens - before < PROMPTS * (BLOCK + COUNT + 12)
    assert backend.prefixes is not None
    assert backend.prefixes.kept_bytes <= PROMPTS * (LENGTH // BLOCK + 1) * BLOCK * (
        model.cache.bytes_per_token
    )


def test_memory_for_few_keeps_the_newest() -> None:
    blocks = 2 * (LENGTH // BLOCK)
    backend = engine(FaultySession(), blocks)
    first = [ask(backend, work(number)) for number in range(2 * SLOTS)]
    assert backend.prefixes is not None
    assert backend.prefixes.tree.used == blocks
    # The newest are in the slots, and two more are kept.
    for number, found in ((SLOTS - 1, True), (2 * SLOTS - 1, True), (0, False)):
        answer, cached = ask(backend, work(number))
        assert answer == first[number][0]
        assert (cached >= LENGTH // BLOCK * BLOCK) == found


def test_no_salt_finds_what_another_has_left() -> None:
    backend = engine(FaultySession(), 100)
    for number in range(2 * SLOTS):
        ask(backend, work(number, "mine"))
    assert ask(backend, work(0, "other"))[1] == 0
    assert ask(backend, work(0, "mine"))[1] > 0


def test_what_was_sampled_is_no_beginning_for_those_who_want_the_same_bits() -> None:
    """Keys and values of tokens that one generated without a seed may differ in the last bits."""
    backend = engine(FaultySession(), 100)
    prompt = tuple(range(3, 3 + 2 * BLOCK))
    params = SamplingParams(temperature=0.5, max_tokens=3 * BLOCK, ignore_eos=True)
    backend.add("r", Work(Tokens(prompt), params))
    while backend.busy:
        backend.step()
        for sequence in backend.running:
            generated = list(sequence.tokens)
    for number in range(SLOTS + 1):
        ask(backend, work(number))
    continued = Tokens((*generated[: 5 * BLOCK - 1], 9))
    exact = Work(continued, SamplingParams(temperature=0, max_tokens=2, ignore_eos=True))
    assert ask(backend, exact)[1] == 2 * BLOCK
    for number in range(SLOTS + 1):
        ask(backend, work(number))
    sampled = Work(continued, SamplingParams(temperature=0.5, max_tokens=2, ignore_eos=True))
    assert ask(backend, sampled)[1] >= 4 * BLOCK


def test_what_a_question_leaves_is_not_kept_where_another_slot_has_its_state() -> None:
    backend = engine(FaultySession(), 100)
    state = Chat(({"role": "user", "content": words(LENGTH, 1)},))
    asked = (Question(QuestionKind.PREDICATE, words(3 * BLOCK, number)) for number in range(40))
    backend.add("d", Decide(state, tuple(asked)))
    drain(backend)
    assert all(slot.length > LENGTH // 2 for slot in backend.slots.table.slots)
    ask(backend, work(2))
    assert backend.prefixes is not None
    assert backend.prefixes.kept_bytes == 0


def test_a_long_rest_gives_everything_back() -> None:
    backend = engine(FaultySession(), 100)
    for number in range(2 * SLOTS):
        ask(backend, work(number))
    assert backend.prefixes is not None
    backend.rest(long=False)
    assert backend.prefixes.kept_bytes > 0
    backend.rest(long=True)
    assert backend.prefixes.kept_bytes == 0
    assert ask(backend, work(0))[1] == 0


def test_a_prompt_whose_log_probabilities_are_wanted_is_read_anew() -> None:
    backend = engine(FaultySession(), 100)
    for number in range(2 * SLOTS):
        ask(backend, work(number))
    whole = msgspec.structs.replace(work(0), prompt_logprobs=True)
    assert ask(backend, whole)[1] == 0


@pytest.mark.parametrize("start", [0, 5, BLOCK, BLOCK + 3])
def test_blocks_are_copied_behind_what_a_row_holds(start: int) -> None:
    cache = KeyValueCache(session().cache.shape, 2, 4 * BLOCK)
    memory = PrefixMemory(cache, 3 * BLOCK * cache.bytes_per_token)
    assert memory.places == 3
    cache.array[:, :, 0, :, : 2 * BLOCK] = 1
    for block, place in enumerate((2, 0)):
        memory.save(0, block, place)
    memory.load(1, [2, 0], start)
    assert (cache.array[:, :, 1, :, start : 2 * BLOCK] == 1).all()
    assert (cache.array[:, :, 1, :, :start] == 0).all()
    assert (cache.array[:, :, 1, :, 2 * BLOCK :] == 0).all()
    memory.give_back()
    memory.load(1, [2, 0], 0)
    assert (cache.array[:, :, 1] == 0).all()
