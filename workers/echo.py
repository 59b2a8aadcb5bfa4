"""A backend without a model. It answers with the prompt's own words.

It serves to test everything above the engine, and to measure gateway and scheduler alone.
"""

from __future__ import annotations

import os
from collections import deque
from itertools import cycle, islice

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Turn
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import (
    Chat,
    Decide,
    Decode,
    Embed,
    Encode,
    Text,
    Tokens,
    Transcribe,
    Work,
)
from cupola.workers.model.backend import RequestError, refuse_speech
from cupola.workers.model.text import StopMatcher

FORBIDDEN = "echo:refuse"  # a prompt that begins with this is refused
FATAL = "echo:crash"  # a prompt that begins with this makes the step fail
KILLER = "echo:kill"  # a prompt that begins with this ends the worker process
SILENT = "echo:wait"  # a prompt that begins with this has one word of answer, and no end


class EchoBackend:
    """Repeats the words of the last message, one in each step, up to max_tokens."""

    serving = Serving("echo")
    shared_bytes = 0
    capacity = 0
    postponed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._silent: set[str] = set()  # ids of requests that have had their word

    @property
    def busy(self) -> bool:
        return bool(self._answers)

    def convert(self, request_id: str, task: Encode | Decode) -> Output:
        """See ``Backend.convert``. The tokens are bytes."""
        if isinstance(task, Decode):
            text = bytes(task.ids).decode(errors="replace")
            return Output(request_id, text, usage=Usage(len(task.ids), 0))
        text = _prompt_text(task)
        data = text.encode()
        pieces = tuple(bytes([byte]) for byte in data)
        return Output(
            request_id, text, usage=Usage(len(data), 0), tokens=tuple(data), pieces=pieces
        )

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        work = refuse_speech(work)
        if isinstance(work, Embed):
            text = "the echo backend makes no embeddings"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
        if isinstance(work, Decide):
            text = "the echo backend has no model that could decide"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
        text = _prompt_text(work)
        if text.startswith(FORBIDDEN):
            refusal = "the echo backend was told to refuse"
            raise RequestError(ErrorCode.INVALID_REQUEST, refusal, "prompt")
        self._answers[request_id] = _Answer(text, work)

    def abort(self, request_id: str) -> None:
        """See ``Backend.abort``. Each output tells of its token."""
        self._answers.pop(request_id, None)
        self._silent.discard(request_id)

    def close(self) -> None:
        """It keeps nothing."""

    def warm_up(self) -> bool:
        return False

    def rest(self, long: bool) -> None:
        """It keeps nothing."""

    def step(self) -> list[Output]:
        if any(answer.text.startswith(KILLER) for answer in self._answers.values()):
            os._exit(1)
        if any(answer.text.startswith(FATAL) for answer in self._answers.values()):
            raise RuntimeError("the echo backend was told to fail")
        outputs = [answer.advance(request_id) for request_id, answer in self._answers.items()]
        for output in outputs:
            silent = self._answers[output.request_id].text.startswith(SILENT)
            if output.last or silent:
                del self._answers[output.request_id]
            if silent:
                self._silent.add(output.request_id)
        return outputs


def _prompt_text(work: Work | Encode) -> str:
    match work.prompt:
        case Chat(messages):
            return str(messages[-1].get("content"))
        case Text(text):
            return text
        case Tokens(ids):
            return " ".join(map(str, ids))


class _Answer:
    def __init__(self, text: str, work: Work) -> None:
        self.text = text
        words = text.split() or ["…"]
        limit = work.sampling.max_tokens or len(words)
        if text.startswith(SILENT):
            limit = 2  # its end never comes
        self._words = deque(islice(cycle(words), limit))
        self._stops = StopMatcher(work.sampling.stop)
        self._prompt_tokens = len(words)
        self._generated = 0

    def advance(self, request_id: str) -> Output:
        self._generated += 1
        text, stopped = self._stops.feed(self._words.popleft() + " ")
        if stopped is not None:
            return self._end(request_id, text, FinishReason.STOP)
        if not self._words:
            return self._end(request_id, text + self._stops.flush(), FinishReason.LENGTH)
        return Output(request_id, text, made=1, prompt_usage=self._prompt_usage())

    def _end(self, request_id: str, text: str, reason: FinishReason) -> Output:
        usage = Usage(self._prompt_tokens, self._generated)
        return Output(request_id, text, reason, usage, made=1, prompt_usage=self._prompt_usage())

    def _prompt_usage(self) -> Usage | None:
        """The usage so far, for the first output."""
        return Usage(self._prompt_tokens, 1) if self._generated == 1 else None
