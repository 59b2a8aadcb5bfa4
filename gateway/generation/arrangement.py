"""What a worker must do for a request to a model of some family, and who reads its text. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from cupola.gateway.core.param_names import Names
from cupola.gateway.core.request import Conversation, GenerationRequest, ToolOptions, ToolUse
from cupola.gateway.http.errors import ApiError
from cupola.gateway.toolcalls.describing import definition, described
from cupola.gateway.toolcalls.description import Family
from cupola.gateway.toolcalls.emitter import Emitter
from cupola.gateway.toolcalls.enforcing import (
    ENFORCED,
    after_reasoning,
    calls_or,
    can_be_mixed,
    required_calls,
    strict_calls,
)
from cupola.gateway.toolcalls.harmony import HarmonyParser
from cupola.gateway.toolcalls.known import HERMES
from cupola.gateway.toolcalls.marked import MarkedParser
from cupola.gateway.toolcalls.parser import Parser
from cupola.scheduler.protocol.messages import Chat, Constraint, ConstraintKind, Text, Tokens, Work

NewId = Callable[[], str]
_SHORT_ID = 9


@dataclass(frozen=True, slots=True)
class Arrangement:
    work: Work
    names: Names  # of the request, and who is to blame for the constraint
    parser: Callable[[int], Parser] | None = None  # for the answer with this index; None: all text


def arrange(asked: GenerationRequest, family: Family, new_id: NewId) -> Arrangement:
    """``new_id`` makes the ids of calls. Raises ApiError when the family cannot do it."""
    chat = isinstance(asked.prompt, Conversation)
    prompt = _prompt(asked.prompt, asked.tools, family)
    family = _as_asked(asked, family)
    parsed = chat and (bool(asked.tools.tools) or bool(family.reasoning) or family.harmony)
    work = Work(
        prompt=prompt,
        sampling=asked.sampling,
        answers=asked.answers,
        constraint=_constraint(asked, family) if chat else asked.constraint,
        prediction=asked.prediction,
        keep_special=asked.show_special or (parsed and family.special),
        prompt_logprobs=asked.prompt_logprobs,
        cache_salt=asked.cache_salt,
    )
    parser = _parser(asked, family, new_id) if parsed else None
    return Arrangement(work, _names(asked, work), parser)


def _names(asked: GenerationRequest, work: Work) -> Names:
    of_tools = asked.constraint is None and work.constraint is not None
    return {**asked.names, "constraint": "tools"} if of_tools else asked.names


def chat_prompt(asked: GenerationRequest, family: Family, new_id: NewId) -> Chat:
    """What ``arrange`` would put to the model for a conversation. Raises ApiError."""
    prompt = arrange(asked, family, new_id).work.prompt
    if not isinstance(prompt, Chat):
        raise TypeError(type(prompt))
    return prompt


# -- prompt ----------------------------------------------------------------------------------------


def _prompt(
    prompt: Conversation | Text | Tokens, tools: ToolOptions, family: Family
) -> Chat | Text | Tokens:
    if not isinstance(prompt, Conversation):
        return prompt
    messages = prompt.messages
    given: tuple[dict[str, Any], ...] = ()
    if family.template_takes_tools:
        given = tuple(definition(tool) for tool in tools.told)
        if family.short_ids:
            messages = tuple(_with_short_ids(message) for message in messages)
    else:
        form = family.tools if family.tools and family.tools.markers else HERMES
        messages = described(messages, tools.told, form.markers[0])
    return Chat(messages, given, prompt.template_options, prompt.continue_last)


def _with_short_ids(message: dict[str, Any]) -> dict[str, Any]:
    """Mistral's templates refuse ids that have not nine letters and digits."""
    message = dict(message)
    if "tool_call_id" in message:
        message["tool_call_id"] = _short(message["tool_call_id"])
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{**call, "id": _short(call.get("id", ""))} for call in calls]
    return message


def _short(call_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", call_id)[-_SHORT_ID:].rjust(_SHORT_ID, "0")


def _as_asked(asked: GenerationRequest, family: Family) -> Family:
    """The family as it writes calls in this answer: what is constrained has one form only."""
    tools, form = asked.tools, family.tools
    if not tools.tools:
        return family
    if tools.use is ToolUse.REQUIRED:
        return replace(family, tools=ENFORCED, harmony=False, special=False)
    if form is None or not _is_mixed(asked):
        return family
    if family.special and form.bare:  # grammars here know no special tokens
        return replace(family, tools=replace(form, markers=()))
    return replace(family, tools=replace(form, bare=False))


def _is_mixed(asked: GenerationRequest) -> bool:
    """Whether a grammar must describe calls and other text."""
    tools = asked.tools.tools
    return bool(tools) and (asked.constraint is not None or any(tool.strict for tool in tools))


# -- constraint ------------------------------------------------------------------------------------


def _constraint(asked: GenerationRequest, family: Family) -> Constraint | None:
    tools = asked.tools
    thinking = family if family.reasoning and asked.reasoning is not False else None
    if tools.tools and tools.use is ToolUse.REQUIRED:
        if asked.constraint is not None:
            text = "A required call leaves no room for an answer of another form"
            raise ApiError(400, "invalid_value", text, param="constraint")
        return required_calls(tools.tools, parallel=tools.parallel, think=thinking)
    if _is_mixed(asked):
        return _mixed(asked.constraint, tools, family)
    if asked.constraint is not None and thinking is not None:
        return after_reasoning(asked.constraint, thinking)
    return asked.constraint


def _mixed(wanted: Constraint | None, tools: ToolOptions, family: Family) -> Constraint:
    form = family.tools
    if form is None or not can_be_mixed(form) or (family.special and form.markers):
        text = f"Models of the family '{family.name}' can be held to a schema only where a call is "
        param = "tools" if wanted is None else "constraint"
        raise ApiError(
            400, "unsupported_parameter", text + "required: set 'tool_choice'", param=param
        )
    if wanted is None:
        return strict_calls(tools.tools, form)
    if wanted.kind is ConstraintKind.LARK:
        text = "A grammar and tools exclude each other: put the calls into the grammar"
        raise ApiError(400, "invalid_value", text, param="constraint")
    return calls_or(wanted, tools.tools, form)


# -- parser ----------------------------------------------------------------------------------------


def _parser(asked: GenerationRequest, family: Family, new_id: NewId) -> Callable[[int], Parser]:
    tools = asked.tools
    names = frozenset(tool.name for tool in tools.tools)
    assert isinstance(asked.prompt, Conversation)
    opened = asked.prompt.template_options.get("add_generation_prompt", True)
    in_reasoning = (
        family.starts_in_reasoning
        and asked.reasoning is not False
        and opened is not False
        and not asked.prompt.continue_last
    )

    def make(index: int) -> Parser:
        emitter = Emitter(index, new_id, tools.parallel)
        if family.harmony:
            return HarmonyParser(names, emitter)
        return MarkedParser(family, names, emitter, in_reasoning=in_reasoning)

    return make
