"""Which constraints are possible, and with which words the others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.grammar import MAX_NESTING, MAX_SOURCE, Vocabulary, compile_constraint
from cupola.workers.grammar.grammar_probe import GrammarProbe
from cupola.workers.model.backend import RequestError

TOKENIZER = Path(__file__).parents[1] / "data" / "builder-fp32" / "tokenizer.json"
SIZE, END = 260, 256  # <|end|>


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TOKENIZER, SIZE, [END])


@pytest.fixture(scope="module")
def probe():
    probe = GrammarProbe(TOKENIZER, SIZE, [END])
    yield probe
    probe.close()


def schema(**keys: object) -> Constraint:
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(keys))


def regex(source: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, source)


def lark(source: str) -> Constraint:
    return Constraint(ConstraintKind.LARK, source)


def takes(vocabulary: Vocabulary, constraint: Constraint, text: str) -> bool:
    """Whether the whole of ``text`` is an answer."""
    matcher = compile_constraint(constraint, vocabulary)
    tokens = vocabulary.tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (schema(type="integer", minimum=3, maximum=12), "7", "13"),
        (schema(enum=["red", "green"]), '"red"', '"blue"'),
        (schema(type="array", items={"type": "null"}, maxItems=2), "[null]", "[null,null,null]"),
        (Constraint(ConstraintKind.JSON_OBJECT), '{"a": [1, true]}', "[1]"),
        (regex(r"[a-c]{2}\d?"), "ab1", "ad1"),
        (lark('start: "x" start | "y"'), "xxy", "yx"),
        (Constraint(ConstraintKind.GBNF, 'root ::= "x" root | [y\\u007a]'), "xxz", "zx"),
    ],
)
def test_an_answer_follows_its_grammar(
    vocabulary: Vocabulary, constraint: Constraint, good: str, bad: str
):
    assert takes(vocabulary, constraint, good)
    assert not takes(vocabulary, constraint, bad)


def test_one_of_branches_with_a_discriminator_are_taken(vocabulary: Vocabulary):
    branches = [
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
        for kind in ("cat", "dog")
    ]
    assert takes(vocabulary, schema(oneOf=branches), '{"kind": "dog"}')


def test_white_space_in_json_is_bounded(vocabulary: Vocabulary):
    constraint = Constraint(ConstraintKind.JSON_OBJECT)
    assert takes(vocabulary, constraint, '{\n    "a": 1\n}')
    assert not takes(vocabulary, constraint, "{" + " " * 100 + '"a": 1}')


@pytest.mark.parametrize(
    ("constraint", "named"),
    [
        (schema(type="array", uniqueItems=True), "'uniqueItems'"),
        ({"if": {}, "then": {}}, "'if'"),
        (schema(oneOf=[{"type": "string"}, {"type": "string"}]), "'oneOf'"),
        (schema(type="fruit"), "fruit"),
        (schema(type="string", format="moon-phase"), "moon-phase"),
        ({"$ref": "http://example.com/schema"}, "http://example.com/schema"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "'not'"),
        (Constraint(ConstraintKind.JSON_SCHEMA, '{"type": '), "line 1"),
        (regex("(a"), "unclosed group"),
        (regex(r"(a)\1"), "backreferences"),
        (lark('start: "a" | other'), "other"),
    ],
)
def test_what_is_wrong_is_named(vocabulary: Vocabulary, constraint: object, named: str):
    if isinstance(constraint, dict):
        constraint = schema(**constraint)
    assert isinstance(constraint, Constraint)
    with pytest.raises(RequestError) as caught:
        compile_constraint(constraint, vocabulary)
    assert named in str(caught.value)
    assert (caught.value.code, caught.value.param) == (ErrorCode.INVALID_REQUEST, "constraint")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "constraint",
    [
        regex("(" * (MAX_NESTING + 1) + "a" + ")" * (MAX_NESTING + 1)),
        lark("start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
        Constraint(ConstraintKind.JSON_SCHEMA, '{"items":' * 10_000 + "{}" + "}" * 10_000),
        regex("a" * (MAX_SOURCE + 1)),
    ],
)
def test_too_large_or_too_deep_is_refused_unread(vocabulary: Vocabulary, constraint: Constraint):
    with pytest.raises(RequestError, match="more than"):
        compile_constraint(constraint, vocabulary)


def test_brackets_in_strings_and_escapes_are_no_nesting(vocabulary: Vocabulary):
    assert takes(vocabulary, schema(const="[" * 200), json.dumps("[" * 200))
    assert takes(vocabulary, regex(r"\(" * 200), "(" * 200)


def test_the_probe_takes_good_grammars_and_says_what_is_wrong_with_others(probe: GrammarProbe):
    probe.check(schema(type="object", properties={"a": {"type": "string"}}))
    probe.check(regex("a+"))
    with pytest.raises(RequestError, match="'uniqueItems'"):
        probe.check(schema(uniqueItems=True))


@pytest.mark.parametrize(
    "constraint",
    [
        lark("start: x\nx: " + "x x | " * 5_000 + '"a"'),  # minutes to compile
        lark("start: x\nx: " + "x x | " * 1_000 + '"a"'),  # minutes for the first mask
        lark("start: x\nx: " + "x x | " * 20 + '"a"'),  # longer with every token
        schema(type="integer", multipleOf=99_999_989),
    ],
)
def test_a_grammar_that_would_take_for_ever_is_refused(probe: GrammarProbe, constraint: Constraint):
    with pytest.raises(RequestError, match="too complex"):
        probe.check(constraint)
    probe.check(regex("a+"))  # the next one finds a new process
