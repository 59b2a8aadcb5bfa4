"""Collects a generation's events: a whole answer is a collected stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    Measured,
    PromptLogprobs,
    PromptRead,
    Reading,
    Reason,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.scheduler.protocol.outputs import Timings, TokenLogprob, Usage


@dataclass(slots=True)
class CollectedCall:
    id: str
    name: str
    arguments: str = ""  # of a custom tool, its text
    custom: bool = False


@dataclass(slots=True)
class CollectedAnswer:
    text: str = ""
    reasoning: str = ""
    calls: list[CollectedCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    reason: Reason = "stop"
    stopped_by: str | int | None = None
    cut_call: bool = False  # the last call is not complete


@dataclass(slots=True)
class Collected:
    """``answers`` in the order of their index."""

    answers: list[CollectedAnswer]
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    reasoning_tokens: int = 0
    timings: Timings | None = None


def without_stopped_calls(events: Sequence[Event]) -> list[Event]:
    """Without the calls in which a stop string ended the answer.

    Nobody could tell them from whole calls, because such an answer has no sign that it was cut.
    """
    cut = {e.index for e in events if isinstance(e, Finished) and e.cut_call and e.reason == "stop"}
    if not cut:
        return [*events]
    last: dict[int, int] = {}  # the last call of each answer
    for event in events:
        if isinstance(event, ToolCallStart) and event.index in cut:
            last[event.index] = event.call
    return [
        replace(event, cut_call=False)
        if isinstance(event, Finished) and event.index in cut
        else event
        for event in events
        if not isinstance(event, ToolCallStart | ToolCallArguments)
        or last.get(event.index) != event.call
    ]


def collect(events: Iterable[Event], answers: int) -> Collected:
    """All events of a generation together. ``answers``: how many the request wants."""
    whole = Collected([CollectedAnswer() for _ in range(answers)])
    texts: list[list[str]] = [[] for _ in range(answers)]
    for event in events:
        if isinstance(event, TextDelta):
            texts[event.index].append(event.text)
        elif isinstance(event, UsageTotal):
            whole.usage, whole.reasoning_tokens = event.usage, event.reasoning_tokens
            whole.timings = event.timings
        elif not isinstance(event, PromptRead | Reading | Measured):
            _add(whole.answers[event.index], event)
    for answer, parts in zip(whole.answers, texts, strict=True):
        answer.text = "".join(parts)
    return whole


def _add(
    answer: CollectedAnswer,
    event: ReasoningDelta
    | ToolCallStart
    | ToolCallArguments
    | Logprobs
    | PromptLogprobs
    | Finished,
) -> None:
    match event:
        case ReasoningDelta():
            answer.reasoning += event.text
        case ToolCallStart():
            answer.calls.append(CollectedCall(event.id, event.name, custom=event.custom))
        case ToolCallArguments():
            answer.calls[event.call].arguments += event.fragment
        case Logprobs():
            answer.logprobs += event.tokens
        case PromptLogprobs():
            answer.prompt_logprobs = event.tokens
        case Finished():
            answer.reason, answer.stopped_by = event.reason, event.stopped_by
            answer.cut_call = event.cut_call
