"""Whether a text follows a constraint, by llguidance over single bytes."""

from __future__ import annotations

from llguidance import LLMatcher, LLTokenizer

from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind

TOKENIZER = LLTokenizer("byte")


def follows(constraint: Constraint, text: str) -> bool:
    """Whether a whole answer of this text is possible."""
    if constraint.kind is ConstraintKind.LARK:
        grammar = LLMatcher.grammar_from_lark(constraint.source)
    else:
        grammar = LLMatcher.grammar_from_json_schema(constraint.source)
    matcher = LLMatcher(TOKENIZER, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = TOKENIZER.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()
