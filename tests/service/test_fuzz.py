"""The whole service with the real models, fuzzed with its own document: valid bodies only.

``tests/gateway/test_fuzz.py`` has the breadth. Here what is valid goes all the way through the
model: grammars, schemas, biases, prompts of any characters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from schemathesis import Case, GenerationMode

from tests.fuzzing import POSITIVE, Fuzzer
from tests.service.conftest import ENCODER
from tests.service.running_service import MODEL, Service

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("CUPOLA_TEST_FUZZ", "1"))
EXAMPLES = 4
# Where each endpoint is told how long an answer may be, and the model that it needs.
GENERATES = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
    "/v1/messages": "max_tokens",
    "/api/chat": "num_predict",
    "/api/generate": "num_predict",
}
CONVERTS = (
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/v1/messages/count_tokens",
    "/v1/chat/completions/tokenizer/encode/count",
)
EMBEDS = ("/v1/embeddings", "/api/embed", "/api/embeddings")
LIMIT = 4  # tokens


def bounded(case: Case[Any], mode: GenerationMode) -> None:
    """The model that can do it stays loaded, and makes few tokens."""
    body: Any = case.body
    assert isinstance(body, dict)
    body["model"] = ENCODER if case.path in EMBEDS else MODEL
    for name in ("keep_alive", "ttl", "max_completion_tokens"):
        body.pop(name, None)
    if isinstance(body.get("n"), int):
        body["n"] = min(body["n"], 4)
    if isinstance(body.get("best_of"), int):
        body["best_of"] = min(body["best_of"], 4)
    if (limit := GENERATES.get(case.path)) == "num_predict":
        body["options"] = {**(body.get("options") or {}), limit: LIMIT}
    elif limit is not None:
        body[limit] = LIMIT


@pytest.fixture(scope="module")
def fuzzer(service: Service) -> Iterator[Fuzzer]:
    with Fuzzer(service.url, {}, bounded) as running:
        yield running
        print(f"\n{sum(running.statuses.values())} cases: {dict(running.statuses)}")


@pytest.mark.parametrize("path", [*GENERATES, *CONVERTS, *EMBEDS])
def test_what_is_valid_goes_through_the_model(service: Service, fuzzer: Fuzzer, path: str) -> None:
    [operation] = [
        each for each in fuzzer.operations() if each.path == path and each.method == "post"
    ]
    fuzzer.ask(operation, POSITIVE, EXAMPLES * TIMES)
    assert service.is_ready()
