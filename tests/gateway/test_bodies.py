"""Bodies of other APIs than OpenAI's: each is taken or refused, and nothing else happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cupola.gateway.anthropic.body import CountRequest, MessagesRequest
from cupola.gateway.http.errors import from_validation
from cupola.gateway.http.validation import Endpoint
from cupola.gateway.ollama.body import (
    Named,
    OllamaChat,
    OllamaEmbed,
    OllamaEmbeddings,
    OllamaGenerate,
)
from cupola.scheduler.protocol.tasks import SamplingParams

USER: dict[str, Any] = {"role": "user", "content": "Hello!"}
VALID: dict[type[Endpoint], dict[str, Any]] = {
    MessagesRequest: {"model": "m", "max_tokens": 5, "messages": [USER]},
    CountRequest: {"model": "m", "messages": [USER]},
    OllamaChat: {"model": "m", "messages": [USER]},
    OllamaGenerate: {"model": "m", "prompt": "Hello!"},
    OllamaEmbed: {"model": "m", "input": "Hello!"},
    OllamaEmbeddings: {"model": "m", "prompt": "Hello!"},
    Named: {"model": "m"},
}
KEYS = st.sampled_from(
    "type text content role name input id edits source data function arguments format schema "
    "tool_use_id thinking signature effort parameters input_schema options top_k".split()
)
WORDS = st.sampled_from(
    "text tool_use tool_result thinking document image user assistant tool system any auto json "
    "enabled custom function json_schema object 5m -1".split()
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def use(body: type[Endpoint], fields: dict[str, Any]) -> None:
    """All that a route makes of a body."""
    parsed = body.model_validate(fields)
    if isinstance(parsed, MessagesRequest):
        parsed.generation(parsed.sampling)
    elif isinstance(parsed, CountRequest):
        parsed.generation(SamplingParams())
    elif isinstance(parsed, (OllamaChat, OllamaGenerate)):
        _ = parsed.request


@pytest.mark.parametrize("body", VALID)
def test_valid(body: type[Endpoint]) -> None:
    use(body, VALID[body])


@pytest.mark.slow
@pytest.mark.parametrize("body", VALID)
@given(data=st.data())
def test_any_value_of_any_field(body: type[Endpoint], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(body.model_fields))
    fields = VALID[body] | data.draw(st.dictionaries(names, VALUES, min_size=1, max_size=2))
    try:
        use(body, fields)
    except ValidationError as error:
        refusal = from_validation(error)
        assert refusal.status == 400
        assert refusal.param is not None


BLOCKS = st.fixed_dictionaries(
    {"type": WORDS},
    optional={
        "text": st.text(),
        "thinking": st.text(),
        "id": st.text(),
        "name": st.text(),
        "input": st.dictionaries(KEYS, SCALARS),
        "tool_use_id": st.text(),
        "content": st.text() | VALUES,
        "source": VALUES,
    },
)


@given(st.lists(BLOCKS, max_size=4), st.sampled_from(["user", "assistant", "system"]))
def test_any_content_of_a_message(blocks: list[dict[str, Any]], role: str) -> None:
    messages = [USER, {"role": role, "content": blocks}]
    try:
        use(MessagesRequest, VALID[MessagesRequest] | {"messages": messages})
    except ValidationError as error:
        assert (from_validation(error).param or "").startswith("messages[1].content")
