"""The items of an answer while they grow, each with the events that tell of it. Pure.

An item is opened, added to, and closed; ``tell`` takes the type of an event and its fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from cupola.gateway.openai.logprobs import chat_logprobs
from cupola.gateway.openai.responses.record import new_id
from cupola.scheduler.protocol.messages import TokenLogprob


class Tell(Protocol):
    def __call__(self, kind: str, /, **fields: Any) -> None: ...


class OpenItem:
    """Base: an item of the output at ``index``."""

    prefix = ""

    def __init__(self, index: int, tell: Tell, **fields: Any) -> None:
        self._tell = tell
        self._parts: list[str] = []
        self.item: dict[str, Any] = {"id": new_id(self.prefix), **fields, "status": "in_progress"}
        self._at = {"item_id": self.item["id"], "output_index": index}
        tell("response.output_item.added", output_index=index, item=self.item)

    def close(self, status: str) -> dict[str, Any]:
        """The finished item."""
        self._finish("".join(self._parts))
        self.item["status"] = status
        index = self._at["output_index"]
        self._tell("response.output_item.done", output_index=index, item=self.item)
        return self.item

    def _finish(self, whole: str) -> None:
        raise NotImplementedError


class _OpenPart(OpenItem):
    """An item whose content is one part."""

    delta = ""  # the type of the events of its text, without .delta and .done

    def __init__(self, index: int, tell: Tell, part: dict[str, Any], **fields: Any) -> None:
        super().__init__(index, tell, content=[], **fields)
        self._at["content_index"] = 0
        self._part = part
        tell("response.content_part.added", **self._at, part=part)

    def _finish(self, whole: str) -> None:
        self._part["text"] = whole
        self._tell(f"{self.delta}.done", **self._at, text=whole, **self._beside_done())
        self._tell("response.content_part.done", **self._at, part=self._part)
        self.item["content"] = [self._part]

    def _beside_done(self) -> dict[str, Any]:
        return {}


class OpenMessage(_OpenPart):
    prefix = "msg"
    delta = "response.output_text"

    def __init__(self, index: int, tell: Tell) -> None:
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        super().__init__(index, tell, part, type="message", role="assistant")

    def add(self, text: str, tokens: Sequence[TokenLogprob]) -> None:
        self._parts.append(text)
        logprobs = msgspec.to_builtins(chat_logprobs(tokens).content) if tokens else []
        self._part["logprobs"] += logprobs
        self._tell(f"{self.delta}.delta", **self._at, delta=text, logprobs=logprobs)

    def _beside_done(self) -> dict[str, Any]:
        return {"logprobs": self._part["logprobs"]}


class OpenReasoning(_OpenPart):
    prefix = "rs"
    delta = "response.reasoning_text"

    def __init__(self, index: int, tell: Tell) -> None:
        part = {"type": "reasoning_text", "text": ""}
        super().__init__(index, tell, part, type="reasoning", summary=[])

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._tell(f"{self.delta}.delta", **self._at, delta=text)


class OpenCall(OpenItem):
    prefix = "fc"

    def __init__(self, index: int, tell: Tell, call_id: str, name: str) -> None:
        fields = {"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        super().__init__(index, tell, **fields)

    def add(self, fragment: str) -> None:
        self._parts.append(fragment)
        self._tell("response.function_call_arguments.delta", **self._at, delta=fragment)

    def _finish(self, whole: str) -> None:
        self.item["arguments"] = whole
        name = self.item["name"]
        kind = "response.function_call_arguments.done"
        self._tell(kind, **self._at, name=name, arguments=whole)
