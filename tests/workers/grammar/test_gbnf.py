"""llama.cpp's grammars as Lark's: what llguidance makes of them is usable, or an error says why."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.gbnf import lark_of_gbnf
from cupola.workers.grammar.grammar import MAX_GBNF, check_size
from cupola.workers.model.backend import RequestError

GOOD = [
    'root ::= "yes" | "no"',
    'root ::= "a\\u00e9\\U0001F600\\x41\\u0041" [^/"\\\\] [\\x41-\\x5a\\]]',
    'root ::= item{2,3} (ws "," | "b")?\nitem ::= [0-9]+ # digits\nws ::= [ \\t\\n]*',
    "root ::= (\n  [a-z] |\n  [0-9]\n)+",
    'root ::= object\nobject ::= "{" pair ("," pair)* "}"\npair ::= "\\"" [a-z]+ "\\":" value\n'
    'value ::= object | "1"',
]
BAD = ["", "x", "root ::= x", 'root ::= "', "root ::= [", 'root ::= "a\\', 'other ::= "a"', "root"]


@pytest.mark.parametrize("source", GOOD)
def test_good(source: str) -> None:
    assert not LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark_of_gbnf(source)))


@pytest.mark.parametrize("source", BAD)
def test_bad(source: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lark_of_gbnf(source)


@pytest.mark.parametrize("escape", ["\\u00e9", "\\U000000e9", "\\xe9"])
def test_code_points_keep_their_zeros(escape: str) -> None:
    lark = lark_of_gbnf(f'root ::= "{escape}"')
    assert '"é"' in lark or '"\\xe9"' in lark


def test_long_ones_are_refused() -> None:
    with pytest.raises(RequestError, match="GBNF grammar cannot be used"):
        check_size(Constraint(ConstraintKind.GBNF, "a" * (MAX_GBNF + 1)))
