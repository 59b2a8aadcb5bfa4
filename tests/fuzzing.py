"""Asks a running service what its own document says can be asked, and what cannot: schemathesis.

Of what is valid, most is refused because two random parameters exclude each other. So some cases
keep only a few parameters, and names of things that exist stand where names are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import requests
import schemathesis
import schemathesis.specs.openapi.checks as checks
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CONFORMS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
DELIBERATE = {501, 502, 503, 529}  # and documented; no other failure is the service's own
WAIT = 30.0  # seconds after which a test gives up
KEPT = 3  # parameters besides the required ones
Change = Callable[[Case[Any], GenerationMode], None]


class Fuzzer:
    """``known``: values by the names of what they can stand for. ``change``: a last word."""

    def __init__(
        self, url: str, known: Mapping[str, Sequence[Any]], change: Change | None = None
    ) -> None:
        self._known = known
        self._change = change
        self._session = requests.Session()
        self._schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> Fuzzer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.close()

    def operations(self) -> Iterator[Any]:
        for result in self._schema.get_all_operations():
            assert isinstance(result, Ok), result
            yield result.ok()

    def ask(self, operation: Any, mode: GenerationMode, examples: int) -> None:
        """Raises what is wrong with an answer."""

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
        def one(case: Case[Any], data: st.DataObject) -> None:
            if mode is POSITIVE:
                self._aim(case, data)
            if self._change is not None:
                self._change(case, mode)
            answer = case.call(session=self._session, timeout=WAIT)
            self.statuses[answer.status_code] += 1
            assert answer.status_code < 500 or answer.status_code in DELIBERATE, answer.text
            refuses = [checks.negative_data_rejection] if mode is NEGATIVE else []
            case.validate_response(answer, checks=[*CONFORMS, *refuses])

        one()

    def _aim(self, case: Case[Any], data: st.DataObject) -> None:
        if isinstance(case.body, dict):
            required = _required(case)
            if required is not None and data.draw(st.booleans()):
                others = sorted(case.body.keys() - required)
                some = st.lists(st.sampled_from(others), max_size=KEPT) if others else st.just([])
                kept = required | set(data.draw(some))
                case.body = {name: case.body[name] for name in case.body if name in kept}
        parts: tuple[Any, ...] = (case.path_parameters, case.query, case.body)
        for part in parts:
            for name in part if isinstance(part, dict) else ():
                if name in self._known and data.draw(st.integers(0, 3)):
                    part[name] = data.draw(st.sampled_from(self._known[name]))


def _required(case: Case[Any]) -> set[str] | None:
    """The parameters that a body must have; None: there are several kinds of it."""
    schema = case.operation.schema.raw_schema
    [content] = case.operation.definition.raw["requestBody"]["content"].values()
    reference = content["schema"].get("$ref", "")
    if not reference:
        return None
    return set(schema["components"]["schemas"][reference.rpartition("/")[2]].get("required", ()))
