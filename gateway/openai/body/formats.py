"""What shape an answer must have: OpenAI's ``response_format``, Foundry Local's and vLLM's ways."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema

from cupola.gateway.core.schemas.schema_constraint import MAX_SCHEMA, schema_constraint
from cupola.gateway.http.validation import Body, invalid
from cupola.scheduler.protocol.tasks import Constraint, ConstraintKind

KINDS = ("text", "json_object", "json_schema", "lark_grammar", "regex")
Grammar = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SCHEMA)]
Choices = Annotated[
    list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=1000)
]
_GBNF = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.MULTILINE)
Schema = dict[str, Any] | bool


class ResponseFormat(Body):
    """``type`` decides which of the others is read."""

    type: Annotated[str, WithJsonSchema({"enum": KINDS})]
    json_schema: Any = None
    json_schema_alias: Any = Field(default=None, alias="schema")  # llama-server's way
    lark_grammar: Grammar | None = None
    grammar: Grammar | None = None
    regex: Grammar | None = None

    def constraint(self) -> Constraint | None:
        match self.type:
            case "text":
                return None
            case "json_object" if self.json_schema_alias is not None:
                return schema_constraint(self.json_schema_alias, "response_format.schema")
            case "json_object":
                return Constraint(ConstraintKind.JSON_OBJECT)
            case "json_schema":
                return schema_constraint(self._schema(), "response_format.json_schema")
            case "lark_grammar" if grammar := self.lark_grammar or self.grammar:
                return Constraint(ConstraintKind.LARK, grammar)
            case "regex" if self.regex:
                return Constraint(ConstraintKind.REGEX, self.regex)
            case "lark_grammar" | "regex":
                name = f"response_format.{self.type}"
                raise invalid(f"'{name}' is missing", name)
        raise invalid(f"'{self.type}' is not one of: {', '.join(KINDS)}", "response_format.type")

    def _schema(self) -> Any:
        """OpenAI wraps the schema ({"name", "schema", "strict"}), Foundry Local does not."""
        given = self.json_schema if self.json_schema is not None else self.json_schema_alias
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except (ValueError, RecursionError):
                raise invalid("The schema is not JSON", "response_format.json_schema") from None
        if isinstance(given, dict) and isinstance(given.get("schema"), (dict, bool)):
            return given["schema"]
        if isinstance(given, dict) and isinstance(given.get("name"), str) and "type" not in given:
            return {"type": "object"}  # OpenAI's schema is optional
        return given


class StructuredOutputs(Body):
    """vLLM's newer way to set the form of an answer."""

    json_: Any = Field(default=None, alias="json")
    json_object: bool | None = None
    regex: Grammar | None = None
    choice: Choices | None = None
    grammar: Grammar | None = None


def choice_constraint(choices: list[str]) -> Constraint:
    """Exactly one of some texts."""
    source = "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    return Constraint(ConstraintKind.LARK, source)


class FormatFields(Body):
    """The parameters that set the form of an answer. A request may have one of them."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Any = None
    guided_regex: Grammar | None = None
    guided_choice: Choices | None = None
    guided_grammar: Grammar | None = None
    lark_grammar: Grammar | None = None
    # llama-server's ways. Its grammars are GBNF.
    json_schema: Any = None
    grammar: Annotated[str, StringConstraints(max_length=MAX_SCHEMA)] | None = None  # empty: none

    @property
    def constraint(self) -> Constraint | None:
        """The form that one of them sets. Raises an error of validation when two are given."""
        return self._wanted[1]

    @property
    def constraint_param(self) -> str:
        """The parameter that set the form. ``response_format`` where none did."""
        return self._wanted[0]

    @cached_property
    def _wanted(self) -> tuple[str, Constraint | None]:
        if self.model_fields_set.isdisjoint(FormatFields.model_fields):
            return "response_format", None
        given = [(param, found) for param, found in self._given() if found is not None]
        if len(given) > 1:
            raise invalid(f"'{given[1][0]}' and '{given[0][0]}' exclude each other", given[1][0])
        return given[0] if given else ("response_format", None)

    def _given(self) -> list[tuple[str, Constraint | None]]:
        structured = self.structured_outputs or StructuredOutputs()
        wanted = self.response_format.constraint() if self.response_format else None
        return [
            ("response_format", wanted),
            ("structured_outputs.json", _schema(structured.json_, "structured_outputs.json")),
            ("structured_outputs.json_object", _object(structured.json_object)),
            ("structured_outputs.regex", _source(ConstraintKind.REGEX, structured.regex)),
            ("structured_outputs.choice", _choice(structured.choice)),
            ("structured_outputs.grammar", _grammar(structured.grammar)),
            ("guided_json", _schema(self.guided_json, "guided_json")),
            ("guided_regex", _source(ConstraintKind.REGEX, self.guided_regex)),
            ("guided_choice", _choice(self.guided_choice)),
            ("guided_grammar", _grammar(self.guided_grammar)),
            ("lark_grammar", _source(ConstraintKind.LARK, self.lark_grammar)),
            ("json_schema", _schema(self.json_schema, "json_schema")),
            ("grammar", _grammar(self.grammar or None)),
        ]


def _schema(schema: Any, param: str) -> Constraint | None:
    return None if schema is None else schema_constraint(schema, param)


def _object(wanted: bool | None) -> Constraint | None:
    return Constraint(ConstraintKind.JSON_OBJECT) if wanted else None


def _choice(choices: list[str] | None) -> Constraint | None:
    return None if choices is None else choice_constraint(choices)


def _grammar(source: str | None) -> Constraint | None:
    """Of one of the two kinds, which look different: rules are made with ``::=`` or with ``:``."""
    if source is None:
        return None
    kind = ConstraintKind.GBNF if _GBNF.search(source) else ConstraintKind.LARK
    return Constraint(kind, source)


def _source(kind: ConstraintKind, source: str | None) -> Constraint | None:
    return None if source is None else Constraint(kind, source)
