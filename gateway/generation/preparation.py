"""From a request to the work that a worker does for it, and the parser of its text. Pure.

Both depend on the format in which the model answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from cupola.gateway.core.param_names import ParamNames
from cupola.gateway.core.request import (
    Conversation,
    GenerationRequest,
    Tool,
    ToolOptions,
    ToolUse,
)
from cupola.gateway.http.errors import ApiError
from cupola.gateway.toolcalls.emitter import Emitter
from cupola.gateway.toolcalls.enforcing import (
    ENFORCED,
    after_reasoning,
    calls_or,
    can_be_mixed,
    required_calls,
    strict_calls,
)
from cupola.gateway.toolcalls.formats import AnswerFormat
from cupola.gateway.toolcalls.harmony import HarmonyParser
from cupola.gateway.toolcalls.known import HERMES_CALLS
from cupola.gateway.toolcalls.marked import MarkedParser
from cupola.gateway.toolcalls.parser import Parser
from cupola.gateway.toolcalls.raw_call import RawCallParser
from cupola.gateway.toolcalls.tool_prompt import definition, described
from cupola.scheduler.protocol.tasks import (
    Chat,
    Constraint,
    ConstraintKind,
    SamplingParams,
    Text,
    Tokens,
    Work,
)

NewId = Callable[[], str]
_SHORT_ID = 9


class Prepared(msgspec.Struct, frozen=True):
    work: Work
    names: ParamNames  # the request's, with the parameter that the constraint comes from
    parser: Callable[[int], Parser] | None = None  # for the answer with this index; None: all text
    custom: frozenset[str] = frozenset()  # names of the custom tools


def prepare(request: GenerationRequest, answer_format: AnswerFormat, new_id: NewId) -> Prepared:
    """``new_id`` makes the ids of calls. Raises ApiError where the model's format rules it out."""
    chat = isinstance(request.prompt, Conversation)
    prompt = _prompt(request.prompt, request.tools, answer_format)
    answer_format = _narrowed(request, answer_format)
    parsed = chat and (
        bool(request.tools.tools) or bool(answer_format.reasoning) or answer_format.harmony
    )
    work = Work(
        prompt=prompt,
        sampling=_sampling(request),
        answers=request.answers,
        constraint=_constraint(request, answer_format) if chat else request.constraint,
        prediction=request.prediction,
        keep_special=request.show_special or (parsed and answer_format.special),
        prompt_logprobs=request.prompt_logprobs,
        cache_salt=request.cache_salt,
        timings=request.timings,
        progress=request.progress,
    )
    parser = _parser(request, answer_format, new_id) if parsed else None
    custom = frozenset(tool.name for tool in request.tools.tools if tool.custom)
    return Prepared(work, _names(request, work), parser, custom)


def _sampling(request: GenerationRequest) -> SamplingParams:
    """A required call ends where its grammar ends: a stop string in it would leave half a call."""
    if _calls_only(request):
        return replace(request.sampling, stop=(), stop_token_ids=())
    return request.sampling


def _calls_only(request: GenerationRequest) -> bool:
    return bool(request.tools.tools) and request.tools.use is ToolUse.REQUIRED


def _raw_tool(request: GenerationRequest) -> Tool | None:
    """The custom tool whose text is the whole answer: its grammar is that of the answer."""
    tools = request.tools.tools
    alone = _calls_only(request) and len(tools) == 1
    return tools[0] if alone and tools[0].grammar is not None else None


def _names(request: GenerationRequest, work: Work) -> ParamNames:
    of_tools = request.constraint is None and work.constraint is not None
    return {**request.names, "constraint": "tools"} if of_tools else request.names


def chat_prompt(request: GenerationRequest, answer_format: AnswerFormat, new_id: NewId) -> Chat:
    """The prompt that ``prepare`` makes of a conversation. Raises ApiError."""
    prompt = prepare(request, answer_format, new_id).work.prompt
    if not isinstance(prompt, Chat):
        raise TypeError(type(prompt))
    return prompt


# -- prompt ----------------------------------------------------------------------------------------


def _prompt(
    prompt: Conversation | Text | Tokens, tools: ToolOptions, answer_format: AnswerFormat
) -> Chat | Text | Tokens:
    if not isinstance(prompt, Conversation):
        return prompt
    messages = prompt.messages
    given: tuple[dict[str, Any], ...] = ()
    if answer_format.template_takes_tools:
        given = tuple(definition(tool) for tool in tools.listed)
        if answer_format.short_ids:
            messages = tuple(_with_short_ids(message) for message in messages)
    else:
        form = (
            answer_format.tools
            if answer_format.tools and answer_format.tools.markers
            else HERMES_CALLS
        )
        messages = described(messages, tools.listed, form.markers[0])
    return Chat(
        messages, given, prompt.template_options, prompt.continue_last, prompt.parse_special
    )


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


def _narrowed(request: GenerationRequest, answer_format: AnswerFormat) -> AnswerFormat:
    """The format for this answer. A constrained answer can write its calls in one way only."""
    tools, form = request.tools, answer_format.tools
    if not tools.tools:
        return answer_format
    if _calls_only(request):
        return replace(answer_format, tools=ENFORCED, harmony=False, special=False)
    if form is None or not _is_mixed(request):
        return answer_format
    if answer_format.special and form.bare:  # grammars here know no special tokens
        return replace(answer_format, tools=replace(form, markers=()))
    return replace(answer_format, tools=replace(form, bare=False, whole=False))


def _is_mixed(request: GenerationRequest) -> bool:
    """Whether a grammar must describe calls and other text."""
    tools = request.tools.tools
    return bool(tools) and (request.constraint is not None or any(tool.strict for tool in tools))


# -- constraint ------------------------------------------------------------------------------------


def _constraint(request: GenerationRequest, answer_format: AnswerFormat) -> Constraint | None:
    tools = request.tools
    thinking = answer_format if answer_format.reasoning and request.reasoning is not False else None
    if _calls_only(request):
        if request.constraint is not None:
            text = "A required call leaves no room for an answer of another form"
            raise ApiError(400, "invalid_value", text, param="constraint")
        if (raw := _raw_tool(request)) is not None:
            return raw.grammar
        return required_calls(tools.tools, parallel=tools.parallel, think=thinking)
    if _is_mixed(request):
        return _mixed(request.constraint, tools, answer_format)
    if request.constraint is not None and thinking is not None:
        return after_reasoning(request.constraint, thinking)
    return request.constraint


def _mixed(
    wanted: Constraint | None, tools: ToolOptions, answer_format: AnswerFormat
) -> Constraint:
    form = answer_format.tools
    if form is None or not can_be_mixed(form) or (answer_format.special and form.markers):
        text = (
            f"The tool-call format '{answer_format.name}' can be held to a schema only where a "
            "call is required: set 'tool_choice'"
        )
        param = "tools" if wanted is None else "constraint"
        raise ApiError(400, "unsupported_parameter", text, param=param)
    if wanted is None:
        return strict_calls(tools.tools, form)
    if wanted.kind in (ConstraintKind.LARK, ConstraintKind.GBNF):
        text = "A grammar and tools exclude each other: put the calls into the grammar"
        raise ApiError(400, "invalid_value", text, param="constraint")
    return calls_or(wanted, tools.tools, form)


# -- parser ----------------------------------------------------------------------------------------


def _parser(
    request: GenerationRequest, answer_format: AnswerFormat, new_id: NewId
) -> Callable[[int], Parser]:
    tools = request.tools
    names = frozenset(tool.name for tool in tools.tools)
    raw = _raw_tool(request)
    assert isinstance(request.prompt, Conversation)
    opened = request.prompt.template_options.get("add_generation_prompt", True)
    in_reasoning = (
        answer_format.starts_in_reasoning
        and request.reasoning is not False
        and opened is not False
        and not request.prompt.continue_last
    )

    def make(index: int) -> Parser:
        emitter = Emitter(index, new_id, tools.parallel)
        if raw is not None:
            return RawCallParser(raw.name, emitter)
        if answer_format.harmony:
            return HarmonyParser(names, emitter)
        return MarkedParser(
            answer_format,
            names,
            emitter,
            in_reasoning=in_reasoning,
            calls_only=_calls_only(request),
        )

    return make
