"""Grammars compiled beside the engine, answers that follow them, and masks on logits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar import constraints as module
from cupola.workers.grammar import grammar_probe as probe_module
from cupola.workers.grammar.constraints import Constraints, Matcher
from cupola.workers.model.backend import RequestError
from cupola.workers.sampling import masks as masks_module
from cupola.workers.sampling.masks import MaskBatch

TOKENIZER = Path(__file__).parents[1] / "data" / "builder-fp32" / "tokenizer.json"
TEXT = Tokenizer.from_file(str(TOKENIZER))
SIZE, END = 260, 256  # 256 bytes, <|end|> and two more, and a column that is no token
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def constraints():
    constraints = Constraints(TOKENIZER, SIZE, [END])
    yield constraints
    constraints.close()


def regex(source: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, source)


def matcher(constraints: Constraints, source: str) -> Matcher:
    return constraints.compile(regex(source)).result().matcher()


def masked(masks: MaskBatch, *matchers: Matcher | None) -> NDArray[np.float32]:
    logits = np.ones((len(matchers), SIZE), np.float32)
    masks.begin(matchers)
    masks.apply(logits)
    return logits


def allowed(row: NDArray[np.float32]) -> set[int]:
    return set(np.flatnonzero(np.isfinite(row)).tolist())


def tokens(text: str) -> set[int]:
    """The tiny tokenizer has a token for each character."""
    return set(TEXT.encode(text).ids)


def test_equal_constraints_are_compiled_once(constraints: Constraints):
    assert constraints.compile(regex("a|b")) is constraints.compile(regex("a|b"))
    assert constraints.compile(regex("a|b")) is not constraints.compile(regex("b|a"))


def test_only_so_many_grammars_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_GRAMMARS", 2)
    constraints = Constraints(TOKENIZER, SIZE, [END])
    first, second = constraints.compile(regex("1")), constraints.compile(regex("2"))
    assert constraints.compile(regex("1")) is first
    third = constraints.compile(regex("3"))
    assert constraints.compile(regex("1")) is first
    assert constraints.compile(regex("3")) is third
    assert constraints.compile(regex("2")) is not second
    constraints.close()


def test_a_bad_grammar_is_an_error_of_its_future(constraints: Constraints):
    future = constraints.compile(regex("("))
    wait([future])
    assert isinstance(future.exception(), RequestError)


def test_only_what_the_grammar_allows_keeps_its_logit(constraints: Constraints):
    masks = MaskBatch(4, SIZE, [END])
    ab, digits = matcher(constraints, "ab"), matcher(constraints, "[0-9]+")
    logits = masked(masks, ab, None, digits)
    assert allowed(logits[0]) == tokens("a")
    assert allowed(logits[1]) == set(range(SIZE))
    assert allowed(logits[2]) == tokens("0123456789")
    assert (logits[np.isfinite(logits)] == 1).all()


def test_the_end_is_allowed_where_the_grammar_accepts(constraints: Constraints):
    masks = MaskBatch(1, SIZE, [END])
    digits = matcher(constraints, "[0-9]{1,2}")
    assert END not in allowed(masked(masks, digits)[0])
    digits.accept(*tokens("7"))
    assert (digits.fulfilled, digits.complete) == (True, False)
    assert allowed(masked(masks, digits)[0]) == tokens("0123456789") | {END}
    digits.accept(*tokens("8"))
    assert (digits.fulfilled, digits.complete) == (True, True)
    assert allowed(masked(masks, digits)[0]) == {END}


def test_a_row_keeps_a_choice_when_the_end_was_forbidden_before(constraints: Constraints):
    done = matcher(constraints, "a")
    done.accept(*tokens("a"))
    masks = MaskBatch(1, SIZE, [END])
    masks.begin([done])
    logits = np.ones((1, SIZE), np.float32)
    logits[0, END] = -np.inf
    masks.apply(logits)
    assert allowed(logits[0]) == {END}


def test_answers_of_one_grammar_go_their_own_ways(constraints: Constraints):
    masks = MaskBatch(2, SIZE, [END])
    one, two = matcher(constraints, "ab|cd"), matcher(constraints, "ab|cd")
    one.accept(*tokens("a"))
    two.accept(*tokens("c"))
    logits = masked(masks, one, two)
    assert [allowed(row) for row in logits] == [tokens("b"), tokens("d")]


def test_a_token_out_of_the_grammar_is_a_failure(constraints: Constraints):
    ab = matcher(constraints, "ab")
    ab.accept(*tokens("x"))
    assert ab.failure
    assert not ab.complete
    assert allowed(masked(MaskBatch(1, SIZE, [END]), ab)[0]) == set(range(SIZE))


def test_random_logits_make_valid_documents(constraints: Constraints):
    grammar = constraints.compile(Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(SCHEMA)))
    rows, random = 8, np.random.default_rng(1)
    answers = [grammar.result().matcher() for _ in range(rows)]
    masks = MaskBatch(rows, SIZE, [END])
    written: list[list[int]] = [[] for _ in answers]
    while running := [row for row, answer in enumerate(answers) if not answer.complete]:
        masks.begin([answers[row] for row in running])
        logits = random.normal(size=(len(running), SIZE)).astype(np.float32)
        masks.apply(logits)
        for row, token in zip(running, logits.argmax(axis=1).tolist(), strict=True):
            answers[row].accept(token)
            written[row].append(token)
            assert answers[row].failure is None
    for ids in written:
        document = json.loads(TEXT.decode(ids, skip_special_tokens=True), strict=False)
        assert set(document) == {"name", "age"}
        assert isinstance(document["age"], int)


class _Stuck:
    """An llguidance matcher whose mask does not come until ``free`` is set."""

    def __init__(self) -> None:
        self.free = threading.Event()

    def unsafe_compute_mask_ptr(self, address: int, size: int) -> None:
        self.free.wait()

    def is_error(self) -> bool:
        return False


def test_a_mask_that_does_not_come_fails_its_own_answer_only(
    constraints: Constraints, monkeypatch: pytest.MonkeyPatch
):
    masks = MaskBatch(3, SIZE, [END])
    stuck = _Stuck()
    late = Matcher(stuck)  # type: ignore[arg-type]
    before, behind = matcher(constraints, "a"), matcher(constraints, "b")
    monkeypatch.setattr(masks_module, "LATE_SECONDS", 1.0)
    logits = masked(masks, before, late, behind)
    assert late.failure
    assert allowed(logits[0]) == tokens("a")
    assert allowed(logits[2]) == tokens("b")
    assert allowed(masked(masks, behind)[0]) == tokens("b")  # and the next step is on time
    stuck.free.set()


def endless(number: int) -> Constraint:
    """A grammar that is tried for minutes."""
    source = "start: x\nx: " + "x x | " * 5_000 + f'"{number}"'
    return Constraint(ConstraintKind.LARK, source)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Constraints]:
    """It gives no grammar up by itself."""
    monkeypatch.setattr(probe_module, "PROBE_SECONDS", 600.0)
    made = Constraints(TOKENIZER, SIZE, [END])
    yield made
    made.close()


def test_grammars_that_nobody_waits_for_keep_nobody_waiting(patient: Constraints):
    slow = [patient.compile(endless(number)) for number in range(8)]
    wanted = patient.compile(regex("a+"))
    for future in slow:
        assert not future.done()
        patient.abandon(future)
    assert wanted.result(60).matcher()
    assert all(future.done() for future in slow)


def test_a_grammar_is_given_up_when_its_last_request_has_ended(patient: Constraints):
    first, second = patient.compile(endless(0)), patient.compile(endless(0))
    assert first is second
    patient.abandon(first)
    assert patient.compile(endless(0)) is first
    patient.abandon(first)
    patient.abandon(first)
    again = patient.compile(endless(0))
    assert again is not first
    patient.abandon(again)
    wait([first, again], 60)
    assert first.done() and again.done()
    patient.abandon(again)


def test_a_grammar_that_is_ready_is_kept_when_its_request_ends(constraints: Constraints):
    future = constraints.compile(regex("kept"))
    wait([future])
    constraints.abandon(future)
    assert constraints.compile(regex("kept")) is future
