"""The families that are known, and the marks in a chat template that tell them apart.

The order counts: the first whose marks are all in the template is the model's family. The formats
are what the models' own templates and vendors' documentation show.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from cupola.gateway.toolcalls.description import Family, Markers, Payload, ToolFormat

THINK = Markers("<think>", "</think>")
HERMES = ToolFormat((Markers("<tool_call>", "</tool_call>"),))
GRANITE_THOUGHTS = tuple(
    Markers(f"{start} my thought process:", f"{start} my response:")
    for start in ("Here is", "Here's")
)


def _token(*words: str) -> str:
    """DeepSeek's tokens have a wide bar and low blocks that few editors tell from others."""
    name = "\u2581".join(("tool", *words))
    return f"<\uff5c{name}\uff5c>"


HARMONY = Family("harmony", ToolFormat(), harmony=True)
QWEN_CODER = Family(
    "qwen3-coder", ToolFormat((Markers("<tool_call>", "</tool_call>"),), Payload.XML)
)
GRANITE = Family(
    "granite",
    ToolFormat((Markers("<tool_call>", "</tool_call>"), Markers("<|tool_call|>"))),
)
PHI4_MINI = Family(
    "phi4-mini", ToolFormat((Markers("functools"), Markers("<|tool_call|>", "<|/tool_call|>")))
)
MISTRAL = Family(
    "mistral", ToolFormat((Markers("[TOOL_CALLS]"),), Payload.NAMED_JSON), short_ids=True
)
DEEPSEEK = Family(
    "deepseek",
    ToolFormat(
        (Markers(f"{_token('call', 'begin')}function{_token('sep')}", _token("call", "end")),),
        Payload.NAMED_JSON,
        noise=(_token("calls", "begin"), _token("calls", "end")),
    ),
)
LLAMA4 = Family(
    "llama4",
    ToolFormat((Markers("<|python_start|>", "<|python_end|>"),), Payload.PYTHON, bare=True),
)
LLAMA3 = Family("llama3", ToolFormat((Markers("<|python_tag|>"),), bare=True))
HERMES_FAMILY = Family("hermes", HERMES)
# For models that were never told of tools: the markers are those that most others use.
GENERIC = Family("generic", ToolFormat(HERMES.markers, bare=True), template_takes_tools=False)

KNOWN: tuple[tuple[tuple[str, ...], Family], ...] = (
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
    (("<tool_call>",), HERMES_FAMILY),
)
BY_NAME = {family.name: family for _, family in KNOWN} | {GENERIC.name: GENERIC}
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


def family_of(template: str) -> Family:
    """The family of a model with this chat template."""
    family = next(
        (family for marks, family in KNOWN if all(mark in template for mark in marks)), GENERIC
    )
    takes_tools = re.search(r"\btools\b", template) is not None
    if family is GENERIC and "SmolLM" in template:
        family = SMOLLM2
    reasoning = next((found for mark, found in _THOUGHTS if mark in template), ())
    prompt_end = template.rpartition("add_generation_prompt")[2]
    return replace(
        family,
        reasoning=() if family.harmony else reasoning,
        starts_in_reasoning=bool(reasoning) and _OPEN.search(prompt_end) is not None,
        template_takes_tools=takes_tools,
    )
