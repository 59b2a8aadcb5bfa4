"""Any schema that is taken makes documents that are valid: random tokens under random schemas.

``python -m tests.workers.grammar.test_schemas 500`` does it for as many schemas, and counts.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.gateway.core.schemas.closed_schema import closed
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind
from cupola.workers.grammar.grammar import Vocabulary, compile_constraint
from cupola.workers.model.backend import RequestError
from cupola.workers.model.model_folder import ModelFolder
from tests.examples import examples

pytestmark = pytest.mark.slow

TOKENIZER = Path(__file__).parents[1] / "data" / "builder-fp32" / "tokenizer.json"
VOCABULARY = Vocabulary(TOKENIZER, 260, [256])  # <|end|>
LENGTH = 600  # tokens; a document that is longer is cut, as by max_tokens

small = st.integers(0, 5)
names = st.sampled_from(["a", "b", "name", "größe", "x y", 'q"', "$ref"])
values = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4)


def keys(**choices: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=choices)


def ranged(low: str, high: str, limits: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(limits, limits).map(lambda pair: {low: min(pair), high: max(pair)})


LEAVES = st.one_of(
    st.just({}),
    st.just(True),
    st.fixed_dictionaries({"const": values}),
    st.fixed_dictionaries({"enum": st.lists(values, min_size=1, max_size=4)}),
    st.sampled_from([{"type": kind} for kind in ("null", "boolean", "number", "string")]),
    st.just({"type": ["integer", "null"]}),
    ranged("minimum", "maximum", st.integers(-50, 50)).map(lambda r: {"type": "integer"} | r),
    ranged("minimum", "maximum", st.integers(-50, 50)).map(lambda r: {"type": "number"} | r),
    st.integers(1, 12).map(lambda n: {"type": "integer", "multipleOf": n}),
    ranged("minLength", "maxLength", small).map(lambda r: {"type": "string"} | r),
    st.sampled_from([r"^[a-c]{2,4}$", r"\d+-\d+", r"^(ab|c)*$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from(["date", "time", "date-time", "email", "uuid", "ipv4"]).map(
        lambda form: {"type": "string", "format": form}
    ),
)


def objects(inner: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda properties, required, more: (
            {
                "type": "object",
                "properties": properties,
                "required": [name for name in required if name in properties],
            }
            | ({} if more is None else {"additionalProperties": more})
        ),
        st.dictionaries(names, inner, max_size=4),
        st.lists(names, unique=True, max_size=3),
        st.none() | st.booleans() | inner,
    )


def nested(inner: st.SearchStrategy) -> st.SearchStrategy[Any]:
    arrays = st.builds(
        lambda items, limits: {"type": "array", "items": items} | limits,
        inner,
        ranged("minItems", "maxItems", small),
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda parts: (
            {"type": "array", "prefixItems": parts, "minItems": len(parts)} | {"items": False}
        )
    )
    choices = st.sampled_from(["anyOf", "oneOf", "allOf"])
    joined = st.builds(
        lambda kind, of: {kind: of}, choices, st.lists(inner, min_size=1, max_size=3)
    )
    referring = inner.map(
        lambda schema: {
            "$defs": {"d": schema},
            "type": "array",
            "items": {"$ref": "#/$defs/d"},
            "maxItems": 2,
        }
    )
    return st.one_of(objects(inner), arrays, tuples, joined, referring)


SCHEMAS = st.recursive(LEAVES, nested, max_leaves=8)


def document(schema: Any, seed: int, vocabulary: Vocabulary) -> str | None:
    """Random tokens that the schema allows, to an end; None: cut. Raises RequestError."""
    constraint = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema))
    matcher = compile_constraint(constraint, vocabulary)
    draw = random.Random(seed)
    mask = np.zeros(vocabulary.words, np.int32)
    ends = set(vocabulary.ends)
    closers = {token for text in '"]}' for token in vocabulary.tokenizer.tokenize_str(text)}
    tokens: list[int] = []
    while len(tokens) < LENGTH:
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        assert not matcher.is_error(), matcher.get_error()
        allowed = set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")))
        onward = sorted(allowed - ends)
        if not onward or (allowed & ends and draw.random() < 0.5):
            return vocabulary.tokenizer.decode_bytes(tokens).decode()
        closing = sorted(allowed & closers)
        token = int(draw.choice(closing if closing and draw.random() < 0.4 else onward))
        assert matcher.consume_token(token)
        tokens.append(token)
    return None


def outcome(schema: Any, seed: int, vocabulary: Vocabulary) -> str:
    try:
        text = document(closed(schema) if seed % 2 else schema, seed, vocabulary)
    except RequestError as refused:
        assert refused.args
        return "refused"
    if text is None:
        return "cut"
    jsonschema.validate(json.loads(text, strict=False), schema, format_checker=None)
    return "valid"


def spells(vocabulary: Vocabulary, text: str) -> bool:
    """Some vocabularies lack bytes that begin rare characters: no answer can hold these."""
    tokens = vocabulary.tokenizer.tokenize_str(text)
    return bool(vocabulary.tokenizer.decode_bytes(tokens) == text.encode())


def outcomes(count: int, vocabulary: Vocabulary = VOCABULARY) -> Counter[str]:
    """What became of so many schemas. Fails with the first document that is not valid."""
    seen: Counter[str] = Counter()

    @given(SCHEMAS, st.integers(0, 2**32))
    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    def run(schema: Any, seed: int) -> None:
        assume(spells(vocabulary, json.dumps(schema, ensure_ascii=False)))
        seen[outcome(schema, seed, vocabulary)] += 1

    run()
    return seen


def test_documents_of_200_schemas_are_valid() -> None:
    count = examples(200)
    seen = outcomes(count)
    assert seen["valid"] > count / 2
    assert seen["cut"] < count / 20


def test_so_they_are_with_the_tokens_of_a_real_model(real_model: Home) -> None:
    folder = ModelFolder.read(ModelCache(real_model).find("smollm2-135m").path)
    vocabulary = Vocabulary(folder.path / "tokenizer.json", 49152, folder.end_tokens)
    assert outcomes(100, vocabulary)["valid"] > 50


if __name__ == "__main__":
    print(dict(outcomes(int(sys.argv[1]))))
