"""A worker's outputs as events: one parser for each answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import msgspec

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    Measured,
    PromptLogprobs,
    PromptRead,
    Reading,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.toolcalls.custom_input import CustomInputs
from cupola.gateway.toolcalls.parser import Parser
from cupola.scheduler.protocol.outputs import FinishReason, Output


class Translator:
    """``make_parser`` makes the parser of one answer; None: all is text.

    ``custom``: names of the custom tools.
    """

    def __init__(
        self, make_parser: Callable[[int], Parser] | None, custom: Collection[str] = ()
    ) -> None:
        self._make_parser = make_parser
        self._custom = custom
        self._answers: dict[int, _Answer] = {}

    def translate(self, output: Output) -> list[Event]:
        if self._make_parser is None:
            events: list[Event] = [TextDelta(output.index, output.text)] if output.text else []
        else:
            events = self._answer(output.index).read(output)
        if output.logprobs:
            events.insert(0, Logprobs(output.index, output.logprobs))
        if output.prompt_logprobs:
            events.insert(0, PromptLogprobs(output.index, output.prompt_logprobs))
        if output.timings is not None:
            events.insert(0, Measured(output.index, output.timings))
        if output.prompt_usage is not None:
            events.insert(0, PromptRead(output.index, output.prompt_usage, output.room))
        if output.progress is not None:
            events.insert(0, Reading(output.index, output.progress))
        if output.finish_reason is not None:
            events.append(self._end(output))
        if output.usage is not None:
            reasoned = sum(answer.reasoned for answer in self._answers.values())
            events.append(UsageTotal(output.usage, reasoned, output.timings))
        return events

    def _answer(self, index: int) -> _Answer:
        if index not in self._answers:
            assert self._make_parser is not None
            inputs = CustomInputs(self._custom) if self._custom else None
            self._answers[index] = _Answer(self._make_parser(index), inputs)
        return self._answers[index]

    def _end(self, output: Output) -> Finished:
        index, by = output.index, output.stopped_by
        answer = self._answers.get(index)
        cut_call = answer is not None and _is_cut(output) and answer.call_is_open
        if output.finish_reason is FinishReason.LENGTH:
            return Finished(index, "length", by, cut_call)
        called = answer is not None and answer.called and not cut_call
        return Finished(index, "tool_calls" if called else "stop", by, cut_call)


def _is_cut(output: Output) -> bool:
    """Whether the model would have written more: it neither ended nor completed the answer."""
    return output.finish_reason is FinishReason.LENGTH or output.stopped_by is not None


@dataclass(slots=True)
class _Answer:
    """One answer so far."""

    parser: Parser
    inputs: CustomInputs | None = None  # where there are custom tools
    called: bool = False  # a tool
    arguments: list[str] = field(default_factory=list)  # pieces of the last call's, so far
    reasoned: int = 0  # tokens
    _pending: int = 0  # tokens whose event has not come yet
    _thinking: bool = False  # the last event was reasoning

    @property
    def call_is_open(self) -> bool:
        """Whether the last call's arguments are not complete."""
        if not self.called:
            return False
        try:
            return not isinstance(msgspec.json.decode("".join(self.arguments)), dict)
        except (msgspec.DecodeError, RecursionError):
            return True

    def read(self, output: Output) -> list[Event]:
        events = self.parser.feed(output.text) if output.text else []
        if output.finish_reason is not None:
            events += self.parser.finish(cut=_is_cut(output))
        self._count(output, events)
        if self.inputs is not None:
            return self.inputs.translated(events, ended=output.finish_reason is not None)
        return events

    def _count(self, output: Output, events: list[Event]) -> None:
        """Tokens belong to the event that they lead to, those of a marker to what follows."""
        self._pending += output.made
        thought, other = 0, 0  # characters
        for event in events:
            match event:
                case ReasoningDelta():
                    thought += len(event.text)
                    self._thinking = True
                case TextDelta():
                    other += len(event.text)
                    self._thinking = False
                case ToolCallArguments():
                    other += len(event.fragment)
                    self._thinking = False
                    self.arguments.append(event.fragment)
                case ToolCallStart():
                    other += len(event.name)
                    self.called, self._thinking = True, False
                    self.arguments = []
        if thought or other:  # both, where a step gave several tokens: shared by their lengths
            self.reasoned += round(self._pending * thought / (thought + other))
            self._pending = 0
        elif output.finish_reason is FinishReason.LENGTH and self._thinking:
            self.reasoned += self._pending  # cut within a thought, in what the parser held back
