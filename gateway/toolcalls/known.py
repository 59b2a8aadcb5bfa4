"""The table of known formats, and the marks in a chat template that tell them apart.

A new format is a constant and a line in ``KNOWN``. A format whose calls are written in a new way
also needs a reader, see ``readers``. The order counts: the first line whose marks are all in the
template gives the model's format. The formats follow the models' own templates and the vendors'
documentation.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from cupola.gateway.toolcalls.formats import AnswerFormat, Markers, ToolCallFormat
from cupola.gateway.toolcalls.readers import Payload

THINK = Markers("<think>", "</think>")
HERMES_CALLS = ToolCallFormat((Markers("<tool_call>", "</tool_call>"),))
GRANITE_THOUGHTS = tuple(
    Markers(f"{start} my thought process:", f"{start} my response:")
    for start in ("Here is", "Here's")
)


def _token(*words: str) -> str:
    """DeepSeek's tokens have a wide bar and low blocks that few editors tell from others."""
    name = "\u2581".join(("tool", *words))
    return f"<\uff5c{name}\uff5c>"


HARMONY = AnswerFormat("harmony", ToolCallFormat(), harmony=True)
QWEN_CODER = AnswerFormat(
    "qwen3-coder", ToolCallFormat((Markers("<tool_call>", "</tool_call>"),), Payload.XML)
)
GRANITE = AnswerFormat(
    "granite",
    ToolCallFormat((Markers("<tool_call>", "</tool_call>"), Markers("<|tool_call|>"))),
)
PHI4_MINI = AnswerFormat(
    "phi4-mini", ToolCallFormat((Markers("functools"), Markers("<|tool_call|>", "<|/tool_call|>")))
)
MISTRAL = AnswerFormat(
    "mistral", ToolCallFormat((Markers("[TOOL_CALLS]"),), Payload.NAMED_JSON), short_ids=True
)
DEEPSEEK = AnswerFormat(
    "deepseek",
    ToolCallFormat(
        (Markers(f"{_token('call', 'begin')}function{_token('sep')}", _token("call", "end")),),
        Payload.NAMED_JSON,
        noise=(_token("calls", "begin"), _token("calls", "end")),
    ),
)
LLAMA4 = AnswerFormat(
    "llama4",
    ToolCallFormat((Markers("<|python_start|>", "<|python_end|>"),), Payload.PYTHON, bare=True),
)
LLAMA3 = AnswerFormat("llama3", ToolCallFormat((Markers("<|python_tag|>"),), bare=True))
# Qwen 2.5 Coder often leaves the markers out.
HERMES = AnswerFormat("hermes", replace(HERMES_CALLS, whole=True))
# For models whose template knows no tools: the markers that most models use.
GENERIC = AnswerFormat(
    "generic", ToolCallFormat(HERMES_CALLS.markers, bare=True), template_takes_tools=False
)

KNOWN: tuple[tuple[tuple[str, ...], AnswerFormat], ...] = (
    (("<|channel|>",), HARMONY),
    (("<function=", "<parameter="), QWEN_CODER),
    (("<|start_of_role|>",), GRANITE),
    (("<|tool|>",), PHI4_MINI),
    (("functools",), PHI4_MINI),
    (("[TOOL_CALLS]",), MISTRAL),
    ((_token("calls", "begin"),), DEEPSEEK),
    (("<|python_start|>",), LLAMA4),
    (("<|python_tag|>",), LLAMA3),
    (("<|start_header_id|>", "ipython"), LLAMA3),
    (("<tool_call>",), HERMES),
)
BY_NAME = {answer_format.name: answer_format for _, answer_format in KNOWN} | {
    GENERIC.name: GENERIC
}
SMOLLM2 = replace(GENERIC, name="smollm2")
BY_NAME[SMOLLM2.name] = SMOLLM2

_THOUGHTS: tuple[tuple[str, tuple[Markers, ...]], ...] = (
    ("</think>", (THINK,)),
    ("<think>", (THINK,)),
    ("my thought process:", GRANITE_THOUGHTS),
    ("[THINK]", (Markers("[THINK]", "[/THINK]"),)),
)
# A template that ends the prompt inside the reasoning. One that closes it at once has none wanted.
_OPEN = re.compile(r"<think>(?!(?:\\n|\s)*</think>)")


def format_of_template(template: str) -> AnswerFormat:
    """How a model with this chat template writes its answers."""
    answer_format = next(
        (
            answer_format
            for marks, answer_format in KNOWN
            if all(mark in template for mark in marks)
        ),
        GENERIC,
    )
    takes_tools = re.search(r"\btools\b", template) is not None
    if answer_format is GENERIC and "SmolLM" in template:
        answer_format = SMOLLM2
    reasoning = next((found for mark, found in _THOUGHTS if mark in template), ())
    prompt_end = template.rpartition("add_generation_prompt")[2]
    return replace(
        answer_format,
        reasoning=() if answer_format.harmony else reasoning,
        starts_in_reasoning=bool(reasoning) and _OPEN.search(prompt_end) is not None,
        template_takes_tools=takes_tools,
    )
