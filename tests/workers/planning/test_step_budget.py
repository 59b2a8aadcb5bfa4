from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, cycle, repeat
from random import Random
from statistics import mean

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cupola.workers.planning.plan import Step, plan
from cupola.workers.planning.prompt_shares import LEAST_SHARE, OLDEST, SMALL
from cupola.workers.planning.step_budget import RECENT, StepBudget
from tests.examples import examples
from tests.workers.planning.waiting import Waiting


def test_alone_a_prompt_takes_all_there_is():
    assert StepBudget(0.1, 256).tokens(generating=0) == 256


def test_until_something_is_known_nothing_is_held_back():
    assert StepBudget(0.1, 256).tokens(generating=4) == 256


def test_what_is_left_of_the_objective_goes_to_prompts():
    step_budget = StepBudget(0.1, 256)
    for _ in range(100):
        step_budget.observe(generating=8, prompt_tokens=0, seconds=0.04)
        step_budget.observe(generating=8, prompt_tokens=100, seconds=0.14)
    assert 8 + 55 <= step_budget.tokens(generating=8) <= 8 + 60


@given(st.lists(st.tuples(st.floats(0.001, 0.2), st.integers(1, 9)), min_size=1, max_size=9))
def test_steps_that_are_alike_can_be_told_at_once(seen):
    at_once, one_by_one = StepBudget(0.1, 256), StepBudget(0.1, 256)
    for seconds, times in sorted(seen, reverse=True):  # none is late
        at_once.observe(4, 0, seconds, times)
        for _ in range(times):
            one_by_one.observe(4, 0, seconds)
    for step_budget in (at_once, one_by_one):
        step_budget.observe(4, 100, 0.25)
    # A bit of a sum may decide on which side of a whole token it is.
    assert abs(at_once.tokens(4) - one_by_one.tokens(4)) <= 1


def after_plain_steps(slow: float, *, drafts: bool = False) -> StepBudget:
    """After steps without prompts, of which two of a hundred took so many times as long."""
    step_budget = StepBudget(0.1, 256)
    step_budget.observe(0, 100, 0.1)
    for number in range(600):
        seconds = 0.02 * (slow if number % 50 == 49 else 1)
        step_budget.observe(8, 0, seconds, drafts=drafts and slow == seconds / 0.02)
    for _ in range(8):  # what the last slow one did to the average is over
        step_budget.observe(8, 0, 0.02)
    return step_budget


def test_how_much_steps_vary_is_known_before_the_first_prompt_comes_beside_them():
    steady, varying = after_plain_steps(1).tokens(8), after_plain_steps(2.5).tokens(8)
    assert steady >= 8 + 75
    assert varying <= 8 + 50


def test_steps_that_are_longer_for_draft_tokens_do_not_vary():
    assert after_plain_steps(2.5, drafts=True).tokens(8) >= 8 + 75


def test_what_others_have_waited_before_the_step_is_a_part_of_the_objective():
    step_budget = after_plain_steps(1)
    assert step_budget.tokens(8) - step_budget.tokens(8, spent=0.03) in range(28, 33)
    assert step_budget.tokens(8, spent=9) == 8 + 16
    assert step_budget.tokens(0, spent=9) == 256


def test_decisions_take_fewer_tokens_than_prompts_where_generating_alone_takes_too_long():
    step_budget = StepBudget(0.1, 256)
    step_budget.observe(generating=8, prompt_tokens=0, seconds=0.5)
    step_budget.observe(generating=8, prompt_tokens=100, seconds=1.0)
    fork, prompt = Waiting("fork", 90, patient=True), Waiting("prompt", 90)
    step_budget.observe(generating=8, prompt_tokens=0, seconds=0.5)
    assert step_budget.tokens(8, [fork]) == 8 + 8
    assert step_budget.tokens(8, [fork, prompt]) == 8 + 16


def flood(budget: StepBudget, ratios: Iterator[float], steps: int) -> tuple[list[float], list[int]]:
    """Decisions without end beside eight answers: seconds of each step, and its tokens of them.
    As measured on a Xeon, but each step takes so many times as long."""
    fork = Waiting("fork", 200, patient=True)
    seconds, read = [], []
    for _ in range(steps):
        read.append(budget.tokens(8, [fork]) - 8)
        seconds.append((0.029 + 0.001 * read[-1]) * next(ratios))
        budget.observe(8, read[-1], seconds[-1], patient=True)
    return seconds, read


def after_answers(ratios: Iterator[float], steps: int = 10) -> StepBudget:
    """After steps without prompts; so many of them are known."""
    budget = StepBudget(0.1, 256)
    budget.observe(0, 200, 0.2)
    for _ in range(steps):
        budget.observe(8, 0, 0.029 * next(ratios))
    return budget


def late(seconds: list[float]) -> float:
    """The share of them that is longer than the objective."""
    return sum(each > 0.1 for each in seconds) / len(seconds)


def varying(spread: float, seed: int = 1) -> Iterator[float]:
    chance = Random(seed)
    return (chance.lognormvariate(0, spread) for _ in count())


def twofold(seed: int) -> Iterator[float]:
    """One step of forty takes about twice as long as usual."""
    chance = Random(seed)
    for _ in count():
        slow = chance.uniform(1.7, 2.2) if chance.random() < 0.026 else 1.0
        yield slow * chance.uniform(0.85, 1.15)


def in_bursts(seed: int) -> Iterator[float]:
    """Some steps in a row take twice as long as usual."""
    chance = Random(seed)
    while True:
        yield from (chance.uniform(0.85, 1.15) for _ in range(chance.randint(1, 500)))
        slow = chance.uniform(1.7, 2.2)
        yield from (slow * chance.uniform(0.9, 1.1) for _ in range(chance.randint(2, 4)))


def test_decisions_have_all_of_the_objective_where_steps_do_not_vary():
    seconds, _ = flood(after_answers(repeat(1.0)), repeat(1.0), 300)
    assert late(seconds) == 0
    assert min(seconds[150:]) >= 0.095


@pytest.mark.parametrize("ratios", [twofold, in_bursts])
def test_the_objective_is_kept_beside_decisions_though_steps_vary_twofold(ratios):
    """From the first step on, of which nothing is known."""
    first, later, tokens = [], [], []
    for seed in range(8):
        vary = ratios(seed)
        seconds, read = flood(after_answers(vary), vary, 1000)
        first += seconds[:100]
        later += seconds[100:]
        tokens += read
    assert late(first) <= 0.02
    assert late(later) <= 0.01
    assert mean(tokens) >= 12


@pytest.mark.parametrize("spread", [0.05, 0.15, 0.25])
def test_the_objective_is_kept_beside_decisions_where_all_steps_vary(spread):
    vary = varying(spread)
    seconds, read = flood(after_answers(vary), vary, 3000)
    assert late(seconds) <= 0.01
    assert mean(read) >= 16


def test_decisions_keep_the_objective_where_few_tokens_cost_much():
    """A run with any prompt in it costs 20 ms more; the steps vary by up to a fifth."""
    budget, chance = after_answers(repeat(1.0)), Random(3)
    fork = Waiting("fork", 200, patient=True)
    seconds = []
    for _ in range(3000):
        tokens = budget.tokens(8, [fork]) - 8
        seconds.append((0.053 + 0.002 * tokens) * chance.uniform(0.8, 1.2))
        budget.observe(8, tokens, seconds[-1], patient=True)
    assert late(seconds) <= 0.01


def test_what_a_slow_time_has_taught_is_forgotten_though_every_step_reads_decisions():
    budget = after_answers(repeat(1.0), 150)
    for _ in range(5):
        budget.observe(8, 0, 0.09)
    _, read = flood(budget, repeat(1.0), 900)
    assert read[0] == 8
    assert read[-1] >= 40


def test_one_slow_step_is_enough_to_become_careful_and_many_others_to_become_bold():
    budget = after_answers(repeat(1.0))
    fork = Waiting("fork", 200, patient=True)
    flood(budget, repeat(1.0), 150)
    bold = budget.tokens(8, [fork]) - 8
    flood(budget, chain([1.0, 2.0], repeat(1.0)), 20)
    careful = budget.tokens(8, [fork]) - 8
    flood(budget, repeat(1.0), 1000)
    assert careful <= bold / 2
    assert budget.tokens(8, [fork]) - 8 >= bold - 1


def test_prompts_get_on_even_where_generating_alone_takes_too_long():
    step_budget = StepBudget(0.1, 256)
    step_budget.observe(generating=8, prompt_tokens=0, seconds=0.5)
    step_budget.observe(generating=8, prompt_tokens=100, seconds=1.0)
    assert step_budget.tokens(generating=8) == 8 + 16


@given(st.integers(1, 64), st.integers(1, 200), st.booleans(), st.booleans())
def test_prompts_get_on_though_more_generate_than_a_step_may_have_tokens(
    most, generating, known, slow
):
    step_budget = StepBudget(0.1, most)
    if known:
        step_budget.observe(generating, 0, 0.5 if slow else 0.01)
        step_budget.observe(generating, 16, 0.6 if slow else 0.011)
    running = [*[Waiting("g", 1)] * generating, Waiting("long", 3000, to_read=3000)]
    steps = plan(running, step_budget.tokens(generating, running[-1:]))
    assert counts(steps)[:generating] == [("g", 1)] * generating
    assert steps[-1].sequence.name == "long"
    assert min(most, 8) <= steps[-1].count <= most


@example([(0, 16, 0.0)], 1)
@example([(0, 16, 0.0), (1, 0, 5.0)], 1)
@given(
    st.lists(st.tuples(st.integers(0, 32), st.integers(0, 256), st.floats(0, 10)), max_size=30),
    st.integers(0, 32),
)
def test_the_budget_is_always_within_its_bounds(steps, generating):
    step_budget = StepBudget(0.1, 256)
    for step in steps:
        step_budget.observe(*step)
    assert min(256, generating + 16) <= step_budget.tokens(generating) <= 256


@given(st.floats(0.001, 0.05), st.floats(0.0001, 0.01))
def test_a_machine_of_any_speed_meets_the_objective_within_one_step(base, each):
    """Steps of the length that the budget allows take at most the objective, if any do."""
    step_budget = StepBudget(0.1, 256)
    worst = 0.0
    for step in range(60):
        prompts = step_budget.tokens(generating=4) - 4
        seconds = base + each * prompts
        step_budget.observe(4, prompts, seconds)
        step_budget.observe(4, 0, base)
        if step > 40:
            worst = max(worst, seconds)
    assert worst <= max(0.1, base + 16 * each) * 1.05


@settings(max_examples=examples(100), deadline=None)
@given(
    base=st.floats(0.002, 0.12),
    each=st.floats(0.00005, 0.003),
    growth=st.floats(0, 1.5),
    generating=st.integers(1, 15),
)
def test_a_prompt_of_4000_tokens_holds_the_others_up_for_one_step_at_most(
    base, each, growth, generating
):
    """On a clock of its own: a token takes ``each`` seconds, and more the more stand before it.

    The step that exceeds the objective is the first, when nothing is known of prompts.
    """
    step_budget = StepBudget(0.1, 256)
    others = [Waiting("other", 1)] * generating
    for _ in range(20):
        step_budget.observe(generating, 0, base)
    prompt = Waiting("long", 4000)
    over = []
    while prompt.pending > 1:
        steps = plan([*others, prompt], step_budget.tokens(generating))
        assert steps[:-1] == plan(others, generating)  # nobody who generates is left out
        count = steps[-1].count
        cost = each * (1 + growth * (4000 - prompt.pending) / 4000)
        least = base + 16 * cost  # so many are always read
        seconds = base + count * cost
        if seconds > 1.15 * max(0.1, least):  # what is learnt is a step old
            over.append(seconds)
        step_budget.observe(generating, count, seconds)
        prompt.pending -= count
    assert len(over) <= 1


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.15, 0.25])
def test_nearly_all_steps_keep_the_objective_beside_a_flood_of_questions(spread):
    """Eight answers beside questions without end, on a machine whose steps vary by chance."""
    step_budget, chance = StepBudget(0.1, 256), Random(1)
    answers = [Waiting("answer", 1)] * 8
    questions = [Waiting(f"question {n}", pending) for n, pending in zip(range(8), cycle((24, 9)))]
    seconds, read = [], 0
    for _ in range(20):
        step_budget.observe(8, 0, 0.03)
    for _ in range(3000):
        steps = plan([*answers, *questions], step_budget.tokens(generating=8))
        assert sum(step.sequence.generates for step in steps) == 8
        tokens = sum(step.count for step in steps) - 8
        seconds.append((0.03 + 0.001 * tokens) * chance.lognormvariate(0, spread))
        step_budget.observe(8, tokens, seconds[-1])
        read += tokens
    assert late(seconds[500:]) <= 0.015
    assert read / 3000 >= 16


def after(*steps: tuple[float, bool]) -> StepBudget:
    """After steps of 100 prompt tokens, which took so many seconds and read a short prompt."""
    step_budget = StepBudget(0.1, 256)
    for seconds, short in steps:
        step_budget.observe(0, 100, seconds, short=short)
    return step_budget


LONG = Waiting("long", 3000, to_read=3000)


def test_long_prompts_alone_are_read_in_the_largest_steps():
    assert after((0.4, False)).tokens(0, [LONG, LONG]) == 256


def test_a_short_prompt_is_read_to_its_end_beside_long_ones_that_get_what_the_objective_leaves():
    few = Waiting("short", 12, to_read=12)
    assert after((0.4, False)).tokens(0, [LONG, few]) == 25  # of 4 ms each
    many = Waiting("short", 60, to_read=60)
    budget = after((0.4, False)).tokens(0, [LONG, many])
    assert dict(counts(plan([LONG, many], budget))) == {"short": 60, "long": budget - 60}
    assert budget < 70


def test_a_prompt_of_two_shares_is_not_cut_where_nobody_generates():
    own = Waiting("short", SMALL, "lone", to_read=SMALL)
    for many in ("many", "lone"):
        long = Waiting("long", 3000, many, to_read=3000)
        budget = after((0.4, False)).tokens(0, [long, own])
        assert ("short", SMALL) in counts(plan([long, own], budget, 2))


def test_long_prompts_keep_the_objective_as_long_as_short_ones_come_now_and_then():
    assert after((0.4, True)).tokens(0, [LONG]) == 25
    assert after((0.4, True), (RECENT - 1, False)).tokens(0, [LONG]) == 16
    assert after((0.4, True), (RECENT, False)).tokens(0, [LONG]) == 256


def test_a_long_prompt_is_none_of_the_short_ones_when_little_of_it_is_left():
    assert after((0.4, False)).tokens(0, [LONG, Waiting("long", 20, to_read=3000)]) == 256


def test_short_prompts_among_themselves_are_read_in_the_largest_steps():
    assert after((0.4, True)).tokens(0, [Waiting("short", 60, to_read=60)] * 16) == 256


@given(st.integers(2, LEAST_SHARE), st.integers(1, 16), st.integers(0, 9), st.floats(0, 9))
def test_a_newcomer_is_read_in_one_step_where_generating_alone_takes_too_long(
    own, generating, others, served
):
    step_budget = StepBudget(0.1, 256)
    step_budget.observe(generating, 0, 0.5)
    step_budget.observe(generating, 100, 1.0)
    running = [Waiting(f"g{n}", 1, "many") for n in range(generating)]
    reading = [Waiting(f"p{n}", 30, "many", to_read=30) for n in range(others)]
    lone = Waiting("lone", own, "lone", to_read=own)
    budget = step_budget.tokens(generating, [*reading, lone], newcomer=own)
    steps = plan([*running, *reading, lone], budget, 1, lambda c: served * (c == "many"))
    assert ("lone", own) in counts(steps)
    assert budget <= generating + max(16, own + own // (OLDEST - 1))


def counts(steps: list[Step[Waiting]]) -> list[tuple[str, int]]:
    return [(step.sequence.name, step.count) for step in steps]


@settings(max_examples=examples(100), deadline=None)
@example(0.00390625, [450, 449], 22, 0.0, [0.0, 0.0])
@given(
    each=st.floats(0.0005, 0.004),
    past=st.lists(st.integers(300, 4000), min_size=1, max_size=8),
    own=st.integers(2, LEAST_SHARE),
    served=st.floats(0, 100),
    arrivals=st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_a_lone_short_prompt_waits_for_the_running_step_and_its_own(
    each, past, own, served, arrivals
):
    """On a clock of its own: a token takes ``each`` seconds.

    It comes beside long prompts, at any moment of a step. The first one may meet a long step. The
    others wait for the objective, and for a step that holds no more than the objective or their own
    tokens and the part of the oldest.
    """
    step_budget = StepBudget(0.1, 256)
    prompts = [Waiting(f"l{n}", size, "many", to_read=size) for n, size in enumerate(past)]
    longest = 0.0

    def step(*lone: Waiting) -> float:
        running = [*prompts, *lone]
        last = sum(prompt.generates for prompt in running)  # whose last token is left
        reading = [prompt for prompt in running if not prompt.generates]
        budget = step_budget.tokens(last, reading, own if lone else 0)
        steps = plan(running, budget, 1, lambda client: served * (client == "many"))
        seconds: float = each * sum(step.count for step in steps)
        short = any(step_budget.is_short(step.sequence) for step in steps)
        step_budget.observe(0, sum(step.count for step in steps), seconds, short=short)
        for part in steps:
            part.sequence.pending -= part.count
        for prompt in prompts:  # another of its kind comes
            prompt.pending = prompt.pending or prompt.to_read
        return seconds

    step()
    for number, moment in enumerate(arrivals):
        running = step()
        lone = Waiting("lone", own, "lone", to_read=own)
        waited = running * (1 - moment) + step(lone)
        assert lone.pending == 0  # it has joined the very next step, as a whole
        if number > 0:
            longest = max(longest, waited)
    floor = max(0.1, 16 * each) + each * len(past)  # of some, only the last token is left
    assert longest <= floor + max(floor, each * (own + own // (OLDEST - 1) + 2)) + 1e-9
