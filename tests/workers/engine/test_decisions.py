"""Decisions of a tiny fp32 graph, against plain full forward passes over NumPy arrays."""

from __future__ import annotations

import string
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.scheduler.protocol.messages import ErrorCode, Rejected, Turn
from cupola.scheduler.protocol.outputs import Output, Scores
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    Option,
    Question,
    QuestionKind,
    SamplingParams,
    Work,
)
from cupola.scheduler.protocol.tasks import Tokens as Prompt
from cupola.workers.decisions.prompt import read
from cupola.workers.decisions.trie import END, Tokens
from cupola.workers.engine.engine import Engine
from cupola.workers.engine.fork import MOST_FORKS
from cupola.workers.model.backend import RequestError
from cupola.workers.model.render_budget import full_budget
from tests.examples import examples
from tests.workers.reference import plain_decoder
from tests.workers.tiny import (
    CONTEXT,
    LETTERS,
    NAME,
    SLOTS,
    alone,
    codec,
    drain,
    engine,
    engine_over,
    folder,
    greedy,
    session,
    small_memory,
    text,
    words,
)

STATES = st.text(LETTERS, min_size=1, max_size=60)
OPTIONS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=6, unique=True)


def choice(instructions: str, options: list[str]) -> Question:
    return Question(QuestionKind.CHOICE, instructions, tuple(map(Option, options)))


def predicate(instructions: str) -> Question:
    return Question(QuestionKind.PREDICATE, instructions)


def decide(state: str, *questions: Question, permutations: int = 1) -> Decide:
    chat = Chat(({"role": "user", "content": state},))
    return Decide(chat, questions, permutations)


QUESTIONS = st.lists(
    st.builds(choice, st.text(LETTERS, min_size=1, max_size=20), OPTIONS)
    | st.builds(predicate, st.text(LETTERS, min_size=1, max_size=20)),
    min_size=1,
    max_size=7,
)


@cache
def _probabilities(tokens: Tokens) -> np.ndarray:
    """Of the next token, by a whole forward pass."""
    logits = plain_decoder(NAME).logits(list(tokens)).astype(np.float64)
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def _by_hand(work: Decide) -> list[tuple[np.ndarray, float]]:
    """Probabilities and mass of every question: one product for each option, nothing shared."""
    prompt = read(codec(), work, full_budget(), CONTEXT, lambda: False)
    found: dict[int, list[tuple[np.ndarray, float]]] = {}
    for asked in prompt.asked:
        products = np.ones(len(asked.trie.options))
        for place, option in zip(asked.order, asked.trie.options, strict=True):
            behind = [*prompt.tokens, *asked.tokens]
            for token in option:
                row = _probabilities(tuple(behind))
                ends = sum(row[end] for end in folder().end_tokens)
                products[place] *= ends if token == END else row[token]
                behind.append(token)
        found.setdefault(asked.index, []).append((products / products.sum(), products.sum()))
    return [
        (
            np.mean([each for each, _ in orders], axis=0),
            float(np.mean([mass for _, mass in orders])),
        )
        for _, orders in sorted(found.items())
    ]


def _scores(outputs: list[Output]) -> list[Scores]:
    assert [output.last for output in outputs].index(True) == len(outputs) - 1
    found = {output.index: output.scores for output in outputs}
    assert len(found) == len(outputs)
    return [scores for _, scores in sorted(found.items()) if scores is not None]


def _all(backend: Engine, *request_ids: str) -> dict[str, list[Any]]:
    """Step until these requests have ended. On a busy machine a prompt is read in a thread."""
    made: dict[str, list[Any]] = {}
    left = set(request_ids)
    while left:
        for output in backend.step():
            made.setdefault(output.request_id, []).append(output)
            if isinstance(output, Rejected) or output.last:
                left.discard(output.request_id)
        assert backend.violations() == []
    return made


def _decided(backend: Engine, work: Decide) -> list[Scores]:
    backend.add("d", work)
    return _scores(_all(backend, "d")["d"])


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(STATES, QUESTIONS, st.integers(1, 3))
def test_probabilities_are_those_of_whole_forward_passes(
    state: str, questions: list[Question], permutations: int
) -> None:
    work = decide(state, *questions, permutations=permutations)
    backend = engine()
    backend.slots.clear()
    found = _decided(backend, work)
    for scores, (probabilities, mass) in zip(found, _by_hand(work), strict=True):
        np.testing.assert_allclose(np.exp(scores.logprobs), probabilities, atol=1e-4)
        assert scores.mass == pytest.approx(mass, rel=1e-3)
    assert backend.violations() == []


@pytest.mark.slow
@settings(max_examples=examples(8), deadline=None)
@given(st.lists(st.tuples(STATES, QUESTIONS), min_size=1, max_size=4), st.randoms())
def test_bits_depend_on_no_neighbour_order_or_cache(requests, random) -> None:
    """Alone with nothing cached, and then among 16 others with the questions in another order."""
    backend = engine()
    expected = []
    for state, questions in requests:
        backend.slots.clear()
        expected.append(_decided(backend, decide(state, *questions)))
    orders = [random.sample(range(len(questions)), len(questions)) for _, questions in requests]
    for number in range(8):
        backend.add(f"before {number}", greedy(words(9 + number, number), 7))
    for number, (state, questions) in enumerate(requests):
        shuffled = [questions[place] for place in orders[number]]
        backend.add(str(number), decide(state, *shuffled))
    for number in range(8):
        backend.add(f"behind {number}", greedy(words(30 + number, number), 7))
    neighbours = [f"{when} {number}" for when in ("before", "behind") for number in range(8)]
    steps = _all(backend, *map(str, range(len(requests))), *neighbours)
    for number, (order, alone_) in enumerate(zip(orders, expected, strict=True)):
        assert _scores(steps[str(number)]) == [alone_[place] for place in order]
    assert text(steps["behind 3"]) == alone(words(33, 3), 7)


def test_the_prompt_is_read_once_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = engine_over(session())
    read_tokens: list[int] = []
    run = backend.session.run

    def counted(rows):
        read_tokens.extend(len(row.tokens) for row in rows)
        return run(rows)

    monkeypatch.setattr(backend.session, "run", counted)
    questions = [predicate(f"is it {letter}") for letter in string.ascii_lowercase[:10]]
    backend.add("d", decide(words(80, 1), *questions))
    outputs = _all(backend, "d")["d"]
    prompt = read(codec(), decide(words(80, 1), *questions), full_budget(), CONTEXT, lambda: False)
    shared, asked = len(prompt.tokens), sum(len(each.tokens) for each in prompt.asked)
    options = sum(len(path.tokens) for each in prompt.asked for path in each.trie.paths)
    assert sum(read_tokens) <= shared + asked + options
    usage = outputs[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (shared + asked, 0)
    assert [output.prompt_usage for output in outputs].count(None) == len(outputs) - 1


def test_a_cached_prompt_is_told() -> None:
    backend = engine_over(session())
    work = decide(words(80, 1), predicate("one"))
    first, second = _usage(backend, work), _usage(backend, work)  # its options are known as well
    assert first.cached_tokens == 0
    assert second.cached_tokens > 80 // 3


def test_states_are_still_known_though_questions_have_taken_all_slots() -> None:
    backend = engine_over(session())
    questions = [predicate(f"is it {letter}") for letter in string.ascii_lowercase]
    states = [words(60, number) for number in range(SLOTS // 2)]
    for state in states:
        assert _usage(backend, decide(state, *questions)).cached_tokens < 60 // 3
    forgotten = []
    for state in states:
        usage = _usage(backend, decide(state, *questions[::-1]))
        asked = read(codec(), decide(state, *questions), full_budget(), CONTEXT, lambda: False)
        forgotten.append(len(asked.tokens) - usage.cached_tokens)
    assert forgotten == [0] * len(states)


def _usage(backend: Engine, work: Decide):
    backend.add("d", work)
    usage = _all(backend, "d")["d"][-1].usage
    assert usage is not None
    return usage


@pytest.mark.slow
def test_forks_take_free_slots_and_leave_for_others() -> None:
    backend = engine_over(session())
    questions = [predicate(f"is it number {number}") for number in range(60)]
    backend.add("d", decide(words(20, 1), *questions))
    made: dict[str, list[Output]] = {}
    while len(backend.running) < SLOTS:
        for output in backend.step():
            assert isinstance(output, Output)
            made.setdefault(output.request_id, []).append(output)
    assert {sequence.job.request_id for sequence in backend.running} == {"d"}
    for number in range(SLOTS):
        backend.add(f"chat {number}", greedy(words(9, number), 200, ignore_eos=True))
    while not all(f"chat {number}" in made for number in range(SLOTS - 1)):
        for output in backend.step():
            assert isinstance(output, Output)
            made.setdefault(output.request_id, []).append(output)
    running = [sequence.job.request_id for sequence in backend.running]
    assert running.count("d") == 1  # it keeps its own place, and gives back the others
    rest = _all(backend, "d")["d"]
    assert len(_scores([*made.get("d", []), *rest])) == len(questions)
    drain(backend)


def test_forks_leave_for_others_of_their_client_though_spare_slots_are_free() -> None:
    backend = engine_over(session(), spare=1)
    questions = [predicate(f"is it number {number}") for number in range(60)]
    backend.add("d", decide(words(20, 1), *questions))
    decided = 0
    while len(backend.running) < SLOTS - 1:
        decided += sum(output.request_id == "d" for output in backend.step())
    assert backend.waiting == ()  # for the spare slot, which is for other clients
    backend.add("chat", greedy(words(9, 1), 5))
    outputs: list[Output | Rejected] = []
    while not any(output.request_id == "chat" for output in outputs):
        outputs = backend.step()
        decided += sum(output.request_id == "d" for output in outputs)
    assert decided < len(questions) / 2
    assert text(drain(backend)["chat"])


def test_forks_leave_for_a_prompt_for_which_there_is_no_memory() -> None:
    backend = engine_over(session(), positions=CONTEXT)
    work = decide(words(20, 1), *(predicate(f"is it number {number}") for number in range(60)))
    prompt = read(codec(), work, full_budget(), CONTEXT, lambda: False)
    backend.add("d", work)
    decided = 0
    while len(backend.running) < 2:
        decided += sum(output.request_id == "d" for output in backend.step())
    assert backend.waiting == ()  # for memory
    beside_one = CONTEXT - len(prompt.tokens) - prompt.longest - 4
    params = SamplingParams(temperature=0, max_tokens=1)
    backend.add("chat", Work(Prompt(tuple(3 + n % 50 for n in range(beside_one))), params))
    outputs: list[Output | Rejected] = []
    while not any(output.request_id == "chat" for output in outputs):
        outputs = backend.step()
        decided += sum(output.request_id == "d" for output in outputs)
        assert backend.violations() == []
    assert decided < len(work.questions) / 2
    drain(backend)


def test_a_client_that_decides_is_served_no_more_than_another() -> None:
    """Both have much to read. A question counts as many tokens as are read for it."""
    backend = engine_over(session())
    work = decide(words(20, 1), *(choice(words(20, n), ["a", "b"]) for n in range(60)))
    backend.add("d", work, Turn("decides"))
    while len(backend.running) < SLOTS:
        backend.step()
    backend.add("chat", greedy(words(160, 2), 1), Turn("chats"))
    while "chat" not in {sequence.job.request_id for sequence in backend.running}:
        backend.step()
    outputs, decided = list[Output | Rejected](), 0
    while not any(output.request_id == "chat" for output in outputs):
        outputs = backend.step()
        decided += sum(output.request_id == "d" for output in outputs)
    assert 0 < decided < len(work.questions) / 3
    drain(backend)


def test_beside_an_answer_forks_take_no_slots_to_wait_in() -> None:
    """A run that holds the end of one question and the beginning of another needs two forks."""
    backend = engine_over(session())
    backend.add("chat", greedy(words(9, 1), 60, ignore_eos=True))
    most, made = 0, list[Output]()
    while not made:
        made = [each for each in backend.step() if isinstance(each, Output)]
    questions = (choice(words(20, n), ["a", "b"]) for n in range(40))
    backend.add("d", decide(words(20, 1), *questions))
    while not (made and made[-1].last):
        outputs = [each for each in backend.step() if isinstance(each, Output)]
        made += [each for each in outputs if each.request_id == "chat"]
        most = max(most, sum(each.job.request_id == "d" for each in backend.running))
    assert most == 2 < SLOTS - 1
    drain(backend)


def test_options_of_one_question_are_spread_over_slots() -> None:
    backend = engine_over(session())
    letters = string.ascii_lowercase
    options = [f"{one}{two}" for one in letters[:4] for two in letters[:7]]
    work = decide("the state", choice("which", options))
    backend.add("d", work)
    most, made = 0, list[Output]()
    while not (made and made[-1].last):
        made += [each for each in backend.step() if isinstance(each, Output)]
        most = max(most, len(backend.running))
    assert 1 < most <= min(SLOTS, MOST_FORKS)
    (scores,) = _scores(made)
    ((probabilities, _),) = _by_hand(work)
    np.testing.assert_allclose(np.exp(scores.logprobs), probabilities, atol=1e-4)


def test_a_decision_that_is_aborted_leaves_nothing() -> None:
    backend = engine_over(session())
    backend.add("d", decide(words(40, 1), *(predicate(f"is it {n}") for n in range(30))))
    while len(backend.running) < SLOTS:
        backend.step()
    assert backend.abort("d") is None
    assert not backend.busy
    assert backend.slots.table.free == SLOTS
    assert backend.violations() == []


def test_decisions_survive_too_little_memory() -> None:
    work = decide(words(60, 3), *(choice(f"is it {n}", ["ab", "abc", "b"]) for n in range(6)))
    expected = _decided(engine_over(session()), work)
    backend = small_memory(CONTEXT)
    try:
        for number in range(3):
            backend.add(f"r{number}", greedy(words(40, number), 60, ignore_eos=True))
        backend.add("d", work)
        assert _scores(_all(backend, "d")["d"]) == expected
    finally:
        backend.slots.positions = 10**9


@pytest.mark.parametrize(
    ("work", "code", "param", "says"),
    [
        (
            decide(words(3 * CONTEXT, 1), predicate("one")),
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            "prompt",
            f"context holds {CONTEXT}",
        ),
        (
            decide("a", predicate("one"), predicate(words(3 * CONTEXT, 1))),
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            "questions[1]",
            f"context holds {CONTEXT}",
        ),
    ],
)
def test_what_is_too_long_is_refused_with_the_numbers(
    work: Decide, code: ErrorCode, param: str, says: str
) -> None:
    backend = engine()
    with pytest.raises(RequestError, match=says) as refused:
        backend.add("d", work)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert not backend.busy


def test_logits_that_are_no_numbers_fail_the_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = engine_over(session())
    run = backend.session.run
    backend.add("d", decide("a", predicate("one"), predicate("two")))

    def spoiled(rows):
        return run(rows) * np.nan

    monkeypatch.setattr(backend.session, "run", spoiled)
    (rejected,) = _all(backend, "d")["d"]
    assert isinstance(rejected, Rejected) and rejected.code is ErrorCode.INTERNAL
    monkeypatch.undo()
    backend.add("r", greedy(words(9, 1), 5))
    assert text(drain(backend)["r"]) == alone(words(9, 1), 5)


def test_a_question_that_is_asked_again_has_the_same_bits() -> None:
    """All of its tokens are in the cache, and the logits of some are wanted."""
    backend = engine_over(session())
    work = decide(words(40, 2), choice("which", ["abc", "ab", "b"]), predicate("is it"))
    expected = _decided(backend, work)
    for _ in range(3):
        assert _decided(backend, work) == expected
