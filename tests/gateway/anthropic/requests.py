"""What the tests of this API ask for, and what the model says to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cupola.scheduler.protocol.messages import Outputs, Submit
from cupola.scheduler.protocol.outputs import FinishReason, Output, Usage
from tests.gateway.running_gateway import MODEL
from tests.gateway.scripted_scheduler import ScriptedScheduler

HELLO: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello!"}],
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"name": "get_weather", "description": "Now.", "input_schema": SCHEMA}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
OPEN, CLOSE = "<think>", "</think>"


def say(
    scheduler: ScriptedScheduler,
    text: str,
    reason: FinishReason = FinishReason.STOP,
    stopped_by: str | int | None = None,
) -> None:
    """Set what the model answers, in pieces of three characters."""

    def script(request: Any) -> Iterable[Any]:
        if isinstance(request, Submit):
            for at in range(0, len(text), 3):
                yield Outputs((Output(request.request_id, text[at : at + 3]),))
            end = Output(
                request.request_id, "", reason, Usage(9, 4, cached_tokens=2), stopped_by=stopped_by
            )
            yield Outputs((end,))

    scheduler.script = script
