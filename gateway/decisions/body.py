"""The body of POST /v1/decisions, as OpenAI's client sends it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from cupola.gateway.core.custom_tools import as_arguments
from cupola.gateway.core.fields import MOST_OPTIONS, ScoringRequest
from cupola.gateway.decisions.texts import Asked, Joined
from cupola.gateway.generation.decider import DecisionRequest
from cupola.gateway.http.validation import Body, Refused, invalid
from cupola.gateway.openai.body.conversation import parsed
from cupola.scheduler.protocol.tasks import Option, Question, QuestionKind

MOST_QUESTIONS = 400
_WHOLE = "send the whole conversation in 'input'"
Label = Annotated[str, StringConstraints(min_length=1)]


class MessageItem(Body):
    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Joined

    def messages(self) -> list[dict[str, Any]]:
        role = "system" if self.role == "developer" else self.role
        return [{"role": role, "content": self.content}]


class CallItem(Body):
    """A call of a tool, with arguments as JSON or, for a custom tool, an input as text."""

    type: Literal["function_call", "custom_tool_call"]
    call_id: str
    name: str
    arguments: str | None = None
    input: str | None = None

    def messages(self) -> list[dict[str, Any]]:
        custom = self.type == "custom_tool_call"
        arguments = as_arguments(self.input or "") if custom else parsed(self.arguments or "")
        function = {"name": self.name, "arguments": arguments}
        call = {"id": self.call_id, "type": "function", "function": function}
        return [{"role": "assistant", "content": "", "tool_calls": [call]}]


class OutputItem(Body):
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: Joined

    def messages(self) -> list[dict[str, Any]]:
        return [{"role": "tool", "tool_call_id": self.call_id, "content": self.output}]


_KINDS = {
    "message": "<message>",
    "function_call": "<call>",
    "custom_tool_call": "<call>",
    "function_call_output": "<output>",
    "custom_tool_call_output": "<output>",
}


def one_of(*names: str) -> str:
    return ", ".join(f"'{name}'" for name in names[:-1]) + f" or '{names[-1]}'"


def _item_kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return _KINDS.get(kind or "message", "") if isinstance(kind, str | None) else ""


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<call>")]
    | Annotated[OutputItem, Tag("<output>")],
    Discriminator(
        _item_kind,
        custom_error_type="invalid_value",
        custom_error_message=f"The type of an item is {one_of(*_KINDS)}",
    ),
]


def as_items(given: Any) -> Any:
    """A text as the one message that it is short for."""
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class Predicate(Body):
    type: Literal["predicate"]
    instructions: Asked
    name: str | None = None

    def question(self) -> Question:
        return Question(QuestionKind.PREDICATE, self.instructions)


class Candidate(Body):
    value: str | bool
    description: str | None = None

    @model_validator(mode="after")
    def _named(self) -> Candidate:
        if isinstance(self.value, str) and not self.value.strip():
            raise invalid("A choice needs a value", "value")
        return self

    @property
    def text(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return self.value


class ChoiceQuestion(Body):
    type: Literal["choice"]
    instructions: Asked
    choices: Annotated[list[Candidate], Field(min_length=2, max_length=MOST_OPTIONS)]
    name: str | None = None

    @model_validator(mode="after")
    def _unique(self) -> ChoiceQuestion:
        if len({(type(each.value), each.value) for each in self.choices}) < len(self.choices):
            raise invalid("The choices of a question must differ", "choices")
        return self

    def question(self) -> Question:
        texts = {each.value for each in self.choices if isinstance(each.value, str)}
        options = (
            Option(_told_apart(each, texts), (each.description or "").strip())
            for each in self.choices
        )
        return Question(QuestionKind.CHOICE, self.instructions, tuple(options))


class Level(Body):
    label: Label
    description: str | None = None


class Score(Body):
    """``levels`` are in order, the lowest first."""

    type: Literal["score"]
    instructions: Asked
    levels: Annotated[list[Level], Field(min_length=2, max_length=MOST_OPTIONS)]
    name: str | None = None

    @model_validator(mode="after")
    def _unique(self) -> Score:
        if len({level.label for level in self.levels}) < len(self.levels):
            raise invalid("The levels of a question must differ", "levels")
        return self

    def question(self) -> Question:
        options = (Option(each.label, (each.description or "").strip()) for each in self.levels)
        return Question(QuestionKind.SCORE, self.instructions, tuple(options))


def by_type(*known: str) -> Discriminator:
    """Tells questions apart by their ``type``; the tag of a type is its name in angle brackets."""

    def tag(question: Any) -> str:
        is_json = isinstance(question, dict)
        kind = question.get("type") if is_json else getattr(question, "type", None)
        return f"<{kind}>" if kind in known else ""

    return Discriminator(
        tag,
        custom_error_type="invalid_value",
        custom_error_message=f"The type of a question is {one_of(*known)}",
    )


AnyQuestion = Annotated[
    Annotated[Predicate, Tag("<predicate>")]
    | Annotated[ChoiceQuestion, Tag("<choice>")]
    | Annotated[Score, Tag("<score>")],
    by_type("predicate", "choice", "score"),
]


class DecisionsRequest(ScoringRequest):
    refused: ClassVar[tuple[Refused, ...]] = (
        *ScoringRequest.refused,
        # Of /v1/responses: without them another conversation would be decided about.
        Refused("instructions", bool, "send a message with the role 'system' in 'input'"),
        Refused("previous_response_id", bool, _WHOLE),
        Refused("conversation", bool, _WHOLE),
    )
    labels: ClassVar[frozenset[str]] = frozenset(
        {"safety_identifier", "prompt_cache_key", "prompt_cache_options"}
    )

    input: Annotated[
        list[Item],
        BeforeValidator(as_items, json_schema_input_type=str | list[Item]),
        Field(min_length=1),
    ]
    questions: Annotated[list[AnyQuestion], Field(min_length=1, max_length=MOST_QUESTIONS)]
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None
    instructions: Any = None
    previous_response_id: Any = None
    conversation: Any = None

    @model_validator(mode="after")
    def _matching_calls(self) -> DecisionsRequest:
        known: set[str] = set()
        for place, item in enumerate(self.input):
            if isinstance(item, CallItem):
                known.add(item.call_id)
            elif isinstance(item, OutputItem) and item.call_id not in known:
                message = f"No call before it has the id '{item.call_id}'"
                raise invalid(message, f"input[{place}].call_id")
        return self

    def wanted(self) -> DecisionRequest:
        return DecisionRequest(
            self.model,
            tuple(message for item in self.input for message in item.messages()),
            tuple(question.question() for question in self.questions),
            self.permutations,
            self.cache_salt or "",
            self.ttl,
            {"prompt": "input"},
        )


def _told_apart(candidate: Candidate, texts: set[str]) -> str:
    """A boolean beside a string with the same text is marked for the model."""
    clash = isinstance(candidate.value, bool) and candidate.text in texts
    return f"{candidate.text} (boolean)" if clash else candidate.text
