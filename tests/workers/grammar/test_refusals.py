"""A constraint's mistakes are told in the words of who wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.grammar import Vocabulary, compile_constraint
from cupola.workers.model.backend import RequestError
from tests.cases import case

TOKENIZER = Path(__file__).parents[1] / "data" / "builder-fp32" / "tokenizer.json"
SIZE, END = 260, 256  # <|end|>

MISTAKES = {
    "a group without its end": (
        ConstraintKind.REGEX,
        r"\b(foo",
        r"the regular expression cannot be used: unclosed group, at character 3 of '\b(foo'",
    ),
    "what looks back": (
        ConstraintKind.REGEX,
        "a(?<=a)b",
        "the regular expression cannot be used: look-around, including look-ahead and look-behind, "
        "is not supported, at character 2 of 'a(?<=a)b'",
    ),
    "the border of a word": (
        ConstraintKind.REGEX,
        r"a\b",
        r"the regular expression uses '\b', '\B', or '^' or '$' in its middle, which cannot be "
        "enforced here; leave it out: an answer always is the whole expression",
    ),
    "a pattern in a schema": (
        ConstraintKind.JSON_SCHEMA,
        '{"type": "string", "pattern": "[z-a]"}',
        "the JSON schema cannot be used: invalid character class range, the start must be <= the "
        "end, at character 2 of '[z-a]'",
    ),
    "a schema elsewhere": (
        ConstraintKind.JSON_SCHEMA,
        '{"$ref": "https://example.com/schema"}',
        "the JSON schema refers to 'https://example.com/schema', and nothing is fetched; put what "
        "it means into '$defs' and refer to that",
    ),
    "no schema": (
        ConstraintKind.JSON_SCHEMA,
        "[1]",
        "the JSON schema cannot be used: it is no object",
    ),
    "a rule that is not there": (
        ConstraintKind.LARK,
        'start: "a" b\nb: foo',
        'the Lark grammar cannot be used: line 2, column 4: unknown name: "foo"',
    ),
}


def test_a_mistake_is_told() -> None:
    vocabulary = Vocabulary(TOKENIZER, SIZE, [END])
    for name, (kind, source, text) in MISTAKES.items():
        with case(name), pytest.raises(RequestError) as caught:
            compile_constraint(Constraint(kind, source), vocabulary)
        assert str(caught.value) == text
