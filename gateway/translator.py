"""A worker's outputs as events: one parser for each answer. Pure."""

from __future__ import annotations

from collections.abc import Callable

from cupola.gateway.events import (
    Event,
    Finished,
    Logprobs,
    PromptLogprobs,
    ReasoningDelta,
    TextDelta,
    ToolCallStart,
    UsageTotal,
)
from cupola.gateway.families.parser import Parser
from cupola.scheduler.messages import FinishReason, Output


class Translator:
    """``make_parser`` makes the parser of one answer; None: all is text."""

    def __init__(self, make_parser: Callable[[int], Parser] | None) -> None:
        self._make_parser = make_parser
        self._parsers: dict[int, Parser] = {}
        self._called: set[int] = set()  # the answers in which a tool was called
        self._characters = 0
        self._reasoned = 0  # of the characters

    def translate(self, output: Output) -> list[Event]:
        events = self._parse(output)
        for event in events:
            if isinstance(event, ToolCallStart):
                self._called.add(event.index)
            elif isinstance(event, ReasoningDelta):
                self._reasoned += len(event.text)
        if output.logprobs:
            events.insert(0, Logprobs(output.index, output.logprobs))
        if output.prompt_logprobs:
            events.insert(0, PromptLogprobs(output.index, output.prompt_logprobs))
        if output.finish_reason is not None:
            events.append(self._end(output))
        if output.usage is not None:
            tokens = output.usage.completion_tokens
            events.append(UsageTotal(output.usage, self._share(tokens)))
        return events

    def _parse(self, output: Output) -> list[Event]:
        self._characters += len(output.text)
        if self._make_parser is None:
            return [TextDelta(output.index, output.text)] if output.text else []
        parser = self._parsers.get(output.index)
        if parser is None:
            parser = self._parsers[output.index] = self._make_parser(output.index)
        events = parser.feed(output.text) if output.text else []
        return events + parser.finish() if output.finish_reason is not None else events

    def _end(self, output: Output) -> Finished:
        index = output.index
        if output.finish_reason is FinishReason.LENGTH:
            return Finished(index, "length", output.stopped_by)
        return Finished(index, "tool_calls" if index in self._called else "stop", output.stopped_by)

    def _share(self, tokens: int) -> int:
        """Tokens of reasoning. The worker counts tokens, not what they were for: this is their
        share of the text, exact when there is none of it or nothing else."""
        if not self._reasoned:
            return 0
        return max(1, round(tokens * self._reasoned / self._characters))
