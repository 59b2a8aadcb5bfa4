"""Plain completions in OpenAI's legacy shapes, whole and streamed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

import msgspec
from msgspec.structs import replace

from cupola.gateway.core.events import (
    Event,
    Finished,
    Logprobs,
    PromptLogprobs,
    Reading,
    TextDelta,
    UsageTotal,
)
from cupola.gateway.core.fingerprint import FINGERPRINT
from cupola.gateway.generation.collected import CollectedAnswer, collect
from cupola.gateway.generation.streaming import SSE
from cupola.gateway.http.errors import ApiError
from cupola.gateway.openai.answers import (
    CompletionUsage,
    LegacyLogprobs,
    TextChoice,
    TextCompletion,
)
from cupola.gateway.openai.chat_frames import usage_of
from cupola.gateway.openai.chunks import DONE, KEEP_ALIVE, event
from cupola.gateway.openai.errors import OpenAIErrors
from cupola.gateway.openai.logprobs import legacy_logprobs
from cupola.gateway.openai.timings import timings_of, with_progress, with_timings
from cupola.scheduler.protocol.outputs import Timings, TokenLogprob, Usage
from cupola.scheduler.protocol.tasks import Text, Tokens

_errors = OpenAIErrors()


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """The parts of a request that its answer shows.

    Each prompt has ``candidates`` answers. The client gets the best ``answers`` of them.
    """

    prompts: Sequence[Text | Tokens]
    answers: int = 1
    candidates: int = 1
    echo: bool = False
    silent: bool = False  # only the echo is wanted: the one token that is generated is left out
    logprobs: bool = False
    include_usage: bool = False
    timings: bool = False  # all chunks have them, not only the last one

    def waits_for_echo(self, prompt: int) -> bool:
        """Whether the echo of a prompt comes with its logprobs."""
        return self.echo and (self.logprobs or isinstance(self.prompts[prompt], Tokens))


class CompletionFrames:
    """See ``streaming.Frames``. Answer ``index`` belongs to prompt ``index // candidates``."""

    stream_type = SSE

    def __init__(self, model: str, options: AnswerOptions) -> None:
        self._id = f"cmpl-{token_hex(16)}"
        self._created = int(time.time())
        self._model = model
        self._options = options
        self._offsets: dict[int, int] = {}  # characters sent, by answer
        self._tokens: dict[int, tuple[TokenLogprob, ...]] = {}  # that wait for their text
        # What the answers of a prompt had to say before its echo, by prompt. Only the first of them
        # reads all of the prompt, so others may be faster.
        self._held: dict[int, list[Event]] = {
            prompt: [] for prompt in range(len(options.prompts)) if options.waits_for_echo(prompt)
        }

    # -- whole -------------------------------------------------------------------------------------

    def whole(self, events: list[Event]) -> bytes:
        options = self._options
        collected = collect(events, len(options.prompts) * options.candidates)
        choices: list[TextChoice] = []
        for prompt in range(len(options.prompts)):
            first = prompt * options.candidates
            answers = collected.answers[first : first + options.candidates]
            of_prompt = answers[0].prompt_logprobs if options.echo else ()
            echo = self._echo(prompt, of_prompt)
            for answer in _best(answers, options.answers):
                choices.append(self._choice(len(choices), echo, of_prompt, answer))
        return self._body(tuple(choices), self._usage(collected.usage), collected.timings)

    def _choice(
        self,
        number: int,
        echo: str,
        of_prompt: Sequence[TokenLogprob],
        answer: CollectedAnswer,
    ) -> TextChoice:
        silent = self._options.silent
        tokens = [*of_prompt, *(() if silent else answer.logprobs)]
        text = echo if silent else echo + answer.text
        offset = 0 if of_prompt else len(echo)
        return TextChoice(text, number, self._shape(tokens, offset), answer.reason)

    # -- streamed ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        if not self._options.echo:
            return b""
        return b"".join(
            self._echo_chunks(prompt, ())
            for prompt in range(len(self._options.prompts))
            if not self._options.waits_for_echo(prompt)
        )

    def _echo_chunks(self, prompt: int, tokens: tuple[TokenLogprob, ...]) -> bytes:
        first = prompt * self._options.candidates
        frames = []
        for index in range(first, first + self._options.candidates):
            self._tokens[index] = tokens
            frames.append(self._chunk(index, self._echo(prompt, tokens)))
        return b"".join(frames)

    def encode(self, events: list[Event]) -> bytes:
        if self._held:
            events = [each for event in events for each in self._after_echo(event)]
        frames = [self._frame(event) for event in events]
        frames += [self._chunk(index, "") for index in list(self._tokens)]
        return b"".join(with_timings(frames, events, each=self._options.timings))

    def _after_echo(self, event: Event) -> list[Event]:
        """What may be sent once this has come."""
        match event:
            case PromptLogprobs(index, _):
                return [event, *self._held.pop(index // self._options.candidates, ())]
            case TextDelta(index, _) | Logprobs(index, _) | Finished(index):
                held = self._held.get(index // self._options.candidates)
                if held is not None:
                    held.append(event)
                    return []
        return [event]

    def _frame(self, event: Event) -> bytes:
        match event:
            case PromptLogprobs(index, tokens) if self._options.echo:
                return self._echo_chunks(index // self._options.candidates, tokens)
            case TextDelta(index, text) if not self._options.silent:
                return self._chunk(index, text)
            case Logprobs(index, tokens) if not self._options.silent:
                self._tokens[index] = self._tokens.get(index, ()) + tokens
            case Reading(index, progress):
                return with_progress(self._chunk(index, ""), progress)
            case Finished():
                return self._chunk(event.index, "", event.reason)
            case UsageTotal() if self._options.include_usage:
                return self._event((), self._usage(event.usage))
        return b""

    def _chunk(self, index: int, text: str, reason: str | None = None) -> bytes:
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + len(text)
        logprobs = self._shape(self._tokens.pop(index, ()), offset)
        return self._event((TextChoice(text, index, logprobs, reason),), None)

    def idle(self) -> bytes:
        return KEEP_ALIVE

    def end(self) -> bytes:
        return DONE

    def failure(self, error: ApiError) -> bytes:
        return event(_errors.encode(error))  # and no [DONE]

    # -- parts -------------------------------------------------------------------------------------

    def _echo(self, prompt: int, tokens: Sequence[TokenLogprob]) -> str:
        given = self._options.prompts[prompt]
        if not self._options.echo:
            return ""
        if isinstance(given, Text):
            return given.text
        return b"".join(token.token for token in tokens).decode("utf-8", "replace")

    def _usage(self, usage: Usage) -> CompletionUsage:
        return usage_of(replace(usage, completion_tokens=0) if self._options.silent else usage)

    def _shape(self, tokens: Sequence[TokenLogprob], offset: int) -> LegacyLogprobs | None:
        if not self._options.logprobs or not tokens:
            return None
        return legacy_logprobs(tokens, offset)

    def _event(self, choices: tuple[TextChoice, ...], usage: CompletionUsage | None) -> bytes:
        # With include_usage every chunk but the last says "usage": null, as OpenAI's API does.
        shown = usage if self._options.include_usage else msgspec.UNSET
        return event(self._body(choices, shown))

    def _body(
        self,
        choices: tuple[TextChoice, ...],
        usage: CompletionUsage | msgspec.UnsetType | None,
        timings: Timings | None = None,
    ) -> bytes:
        return msgspec.json.encode(
            TextCompletion(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=choices,
                system_fingerprint=FINGERPRINT,
                usage=usage,
                timings=timings_of(timings) if timings else msgspec.UNSET,
            )
        )


def _best(answers: list[CollectedAnswer], count: int) -> list[CollectedAnswer]:
    """The answers with the highest mean log probability of a token, best first."""
    if len(answers) <= count:
        return answers

    def mean(answer: CollectedAnswer) -> float:
        tokens = answer.logprobs
        return sum(token.logprob for token in tokens) / max(1, len(tokens))

    return sorted(answers, key=mean, reverse=True)[:count]
