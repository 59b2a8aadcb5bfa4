"""The items of an answer while they grow, each with the events that tell of it. Pure.

An item is opened, added to, and closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cupola.gateway.openai.logprobs import chat_logprobs
from cupola.gateway.openai.responses.answers import (
    ItemStatus,
    OutputCall,
    OutputCustomCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ReasoningText,
)
from cupola.gateway.openai.responses.events import (
    ArgumentsDelta,
    ArgumentsDone,
    InputDelta,
    InputDone,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    StreamEvent,
    TextDelta,
    TextDone,
)
from cupola.gateway.openai.responses.record import new_id
from cupola.scheduler.protocol.outputs import TokenLogprob

Emit = Callable[[StreamEvent], None]


class OpenItem:
    """Base: ``item`` is at ``index`` of the output. ``emit`` takes the events."""

    def __init__(self, item: OutputItem, index: int, emit: Emit) -> None:
        self._item = item
        self._index = index
        self._emit = emit
        self._pieces: list[str] = []
        emit(ItemAdded(output_index=index, item=item))

    def close(self, status: ItemStatus) -> OutputItem:
        """The finished item."""
        self._finish("".join(self._pieces))
        self._item.status = status
        self._emit(ItemDone(output_index=self._index, item=self._item))
        return self._item

    def _finish(self, whole: str) -> None:
        raise NotImplementedError


class OpenMessage(OpenItem):
    def __init__(self, index: int, emit: Emit) -> None:
        self._message = OutputMessage(new_id("msg"))
        self._part = OutputText()
        super().__init__(self._message, index, emit)
        emit(PartAdded(item_id=self._message.id, output_index=index, part=self._part))

    def add(self, text: str, tokens: Sequence[TokenLogprob]) -> None:
        self._pieces.append(text)
        logprobs = list(chat_logprobs(tokens).content) if tokens else []
        self._part.logprobs += logprobs
        self._emit(
            TextDelta(
                item_id=self._message.id, output_index=self._index, delta=text, logprobs=logprobs
            )
        )

    def _finish(self, whole: str) -> None:
        at, item_id = self._index, self._message.id
        self._part.text = whole
        logprobs = self._part.logprobs
        self._emit(TextDone(item_id=item_id, output_index=at, text=whole, logprobs=logprobs))
        self._emit(PartDone(item_id=item_id, output_index=at, part=self._part))
        self._message.content = [self._part]


class OpenReasoning(OpenItem):
    def __init__(self, index: int, emit: Emit) -> None:
        self._reasoning = OutputReasoning(new_id("rs"))
        self._part = ReasoningText()
        super().__init__(self._reasoning, index, emit)
        emit(PartAdded(item_id=self._reasoning.id, output_index=index, part=self._part))

    def add(self, text: str) -> None:
        self._pieces.append(text)
        item_id = self._reasoning.id
        self._emit(ReasoningDelta(item_id=item_id, output_index=self._index, delta=text))

    def _finish(self, whole: str) -> None:
        at, item_id = self._index, self._reasoning.id
        self._part.text = whole
        self._emit(ReasoningDone(item_id=item_id, output_index=at, text=whole))
        self._emit(PartDone(item_id=item_id, output_index=at, part=self._part))
        self._reasoning.content = [self._part]


class OpenCall(OpenItem):
    def __init__(self, index: int, emit: Emit, call_id: str, name: str) -> None:
        self._call = OutputCall(new_id("fc"), call_id, name)
        super().__init__(self._call, index, emit)

    def add(self, fragment: str) -> None:
        self._pieces.append(fragment)
        item_id = self._call.id
        self._emit(ArgumentsDelta(item_id=item_id, output_index=self._index, delta=fragment))

    def _finish(self, whole: str) -> None:
        call = self._call
        call.arguments = whole
        self._emit(
            ArgumentsDone(
                item_id=call.id, output_index=self._index, name=call.name, arguments=whole
            )
        )


class OpenCustomCall(OpenItem):
    def __init__(self, index: int, emit: Emit, call_id: str, name: str) -> None:
        self._call = OutputCustomCall(new_id("ctc"), call_id, name)
        super().__init__(self._call, index, emit)

    def add(self, fragment: str) -> None:
        self._pieces.append(fragment)
        item_id = self._call.id
        self._emit(InputDelta(item_id=item_id, output_index=self._index, delta=fragment))

    def _finish(self, whole: str) -> None:
        self._call.input = whole
        item_id = self._call.id
        self._emit(InputDone(item_id=item_id, output_index=self._index, input=whole))
