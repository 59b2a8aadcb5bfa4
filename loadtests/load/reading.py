"""One streamed answer, read line by line: its text, its tokens and its times.

Times are seconds of any one clock and come with the lines, so this file does no I/O.

| figure | meaning |
|---|---|
| TTFT | from the intended start of the request to its first text |
| ITL | between two moments at which text of one answer came: see ``results.Record.pauses`` |
| E2E | from the intended start to the end of the answer |
| TPOT | (E2E - TTFT) / (tokens - 1): the answer's mean time of a token after its first |
| tokens/s | of one answer: 1 / TPOT |
"""

from __future__ import annotations

import json
from typing import Any


class Reading:
    """``began``: when the request was to be sent. It was sent later if it had to wait."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.first: float | None = None  # when the first text came
        self.ended: float | None = None
        self.gaps: list[float] = []
        self.text = ""
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.prompt_tokens: int | None = None
        self.cached_tokens = 0  # of the prompt, as far as the server tells
        self.accepted_drafts: int | None = None  # draft tokens in the answer; None: it is not told
        self.rejected_drafts = 0  # draft tokens that were not right
        self._told: int | None = None  # tokens of the answer, as the server counts them
        self._pieces = 0
        self._last = began
        self._done = False
        self._calls: dict[int, dict[str, Any]] = {}

    def line(self, line: str, now: float) -> None:
        """One line of the event stream."""
        if not line.startswith("data:") or self.error:
            return
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self._done = True
            return
        try:
            chunk = json.loads(data)
            if error := chunk.get("error"):
                self.error = error_text(error)
                return
            if usage := chunk.get("usage"):
                self._told = usage["completion_tokens"]
                self.prompt_tokens = usage.get("prompt_tokens")
                details = usage.get("prompt_tokens_details") or {}
                self.cached_tokens = details.get("cached_tokens") or 0
                details = usage.get("completion_tokens_details") or {}
                self.accepted_drafts = details.get("accepted_prediction_tokens")
                self.rejected_drafts = details.get("rejected_prediction_tokens") or 0
            for choice in chunk.get("choices") or ():
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
                if self._take(choice.get("delta") or {}):
                    self._piece(now)
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            self.error = f"not a chunk of a chat completion ({type(error).__name__})"

    def end(self, now: float) -> None:
        """The stream is over."""
        self.ended = now
        if self.error is None and not self._done and self.finish_reason is None:
            self.error = "the stream ended before the answer did"

    @property
    def counted(self) -> bool:
        """The server told the number of tokens."""
        return self._told is not None

    @property
    def tokens(self) -> int:
        """Pieces of text where the server told no number."""
        return self._pieces if self._told is None else self._told

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The tools that the answer calls, as a message of the assistant has them."""
        return [self._calls[index] for index in sorted(self._calls)]

    @property
    def ttft(self) -> float | None:
        return None if self.first is None else self.first - self.began

    @property
    def e2e(self) -> float | None:
        return None if self.ended is None else self.ended - self.began

    @property
    def tpot(self) -> float | None:
        if self.first is None or self.ended is None or self.tokens < 2:
            return None
        return (self.ended - self.first) / (self.tokens - 1)

    def _take(self, delta: dict[str, Any]) -> bool:
        """Whether something came that a user would see."""
        text = delta.get("content") or ""
        self.text += text
        for part in delta.get("tool_calls") or ():
            blank = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self._calls.setdefault(part.get("index", 0), blank)
            call["id"] = part.get("id") or call["id"]
            function = part.get("function") or {}
            call["function"]["name"] += function.get("name") or ""
            call["function"]["arguments"] += function.get("arguments") or ""
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        return bool(text or thought or delta.get("tool_calls"))

    def _piece(self, now: float) -> None:
        self._pieces += 1
        if self.first is None:
            self.first = now
        else:
            self.gaps.append(now - self._last)
        self._last = now


def error_text(error: object) -> str:
    """The message of an error object in any of the usual forms."""
    message = error.get("message") if isinstance(error, dict) else error
    return str(message)[:200]
