"""From a Constraint to a compiled llguidance matcher, with limits. This may take seconds.

There are no threads and no clock here. ``constraints.py`` compiles beside the model's steps, and
``grammar_probe.py`` compiles in a process that can be killed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.gbnf import lark_of_gbnf
from cupola.workers.grammar.refusals import refused

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_SOURCE = 128 * 1024  # characters
MAX_GBNF = 16 * 1024  # it is read in Python
MAX_NESTING = 100  # brackets within brackets

# White space between the parts of a JSON document. It is enough for any usual layout. It is
# bounded, because a small model may else write white space until its tokens are used up.
JSON_SPACE = r"[ \t\r\n]{1,24}"
_JSON_OPTIONS: JsonCompileOptions = {
    "lenient": False,
    "coerce_one_of": False,
    "whitespace_pattern": JSON_SPACE,
}

_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED = re.compile(r"\\.", re.DOTALL)


class Vocabulary:
    """A model's tokens as llguidance needs them. To read a large one takes half a second."""

    def __init__(self, tokenizer: Path, size: int, ends: Collection[int]) -> None:
        """``size``: columns of the logits. ``ends``: the tokens that end an answer."""
        text = tokenizer.read_text("utf-8")
        self.size = size
        self.ends = tuple(sorted(ends))
        self.tokenizer = LLTokenizer(text, n_vocab=size, eos_token=list(self.ends) or None)

    @property
    def words(self) -> int:
        """32-bit words of a bit mask over the vocabulary."""
        return (self.size + 31) // 32


def compile_constraint(constraint: Constraint, vocabulary: Vocabulary) -> LLMatcher:
    """A matcher at its beginning. Raises RequestError, whose text says what is wrong."""
    check_size(constraint)
    matcher = LLMatcher(
        vocabulary.tokenizer, _grammar(constraint), log_level=0, limits=_parser_limits()
    )
    if matcher.is_error():
        raise refused(constraint, matcher.get_error())
    return matcher


def check_size(constraint: Constraint) -> None:
    """Refuse a constraint that is too large to read. Raises RequestError."""
    source = constraint.source
    most = MAX_GBNF if constraint.kind is ConstraintKind.GBNF else MAX_SOURCE
    if len(source) > most:
        raise refused(constraint, f"it has {len(source)} characters, more than {most}")
    is_json = constraint.kind is ConstraintKind.JSON_SCHEMA
    depth = deepest = 0
    for character in (_JSON_STRING if is_json else _ESCAPED).sub("", source):
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    if deepest > MAX_NESTING:
        raise refused(constraint, f"it is nested {deepest} deep, more than {MAX_NESTING}")


def _grammar(constraint: Constraint) -> str:
    try:
        match constraint.kind:
            case ConstraintKind.JSON_SCHEMA:
                return _json_grammar(constraint.source)
            case ConstraintKind.JSON_OBJECT:
                return _json_grammar('{"type": "object"}')
            case ConstraintKind.REGEX:
                return LLMatcher.grammar_from_regex(constraint.source)
            case ConstraintKind.LARK:
                return LLMatcher.grammar_from_lark(constraint.source)
            case ConstraintKind.GBNF:
                return LLMatcher.grammar_from_lark(lark_of_gbnf(constraint.source))
    except ValueError as error:
        raise refused(constraint, str(error)) from None


def _json_grammar(schema: str) -> str:
    json.loads(schema)  # its error says where the mistake is
    return LLMatcher.grammar_from_json_schema(schema, overrides=_JSON_OPTIONS)


def _parser_limits() -> LLParserLimits:
    """Below the defaults where the grammar of one request takes time or memory from all others."""
    return LLParserLimits(
        initial_lexer_fuel=1_000_000,  # 20 ms
        step_lexer_fuel=100_000,  # 7 ms
        step_max_items=30_000,  # 2 ms
        max_lexer_states=20_000,  # 40 MB
        max_grammar_size=100_000,
        verbose_errors=False,
    )
