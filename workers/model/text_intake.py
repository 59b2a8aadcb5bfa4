"""The texts of one model's requests: small ones are read at once, large ones in other threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from cupola.scheduler.protocol.messages import Rejected
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.tasks import Decode, Encode
from cupola.workers.model.backend import RequestError
from cupola.workers.model.conversion import convert, convert_small
from cupola.workers.model.text import TextCodec
from cupola.workers.model.text_jobs import Cancelled, TextJobs

T = TypeVar("T")


class TextIntake(Generic[T]):
    """Converts texts for clients, and reads those of large requests (into ``T``)."""

    def __init__(self, codec: TextCodec, wake: Callable[[], None]) -> None:
        """``wake`` is called from another thread when a large text has been read."""
        self._codec = codec
        self._jobs: TextJobs[T | Output] = TextJobs(wake)

    @property
    def ready(self) -> bool:
        """Whether ``take`` yields something."""
        return self._jobs.ready

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        """See ``Backend.convert``."""
        output = convert_small(self._codec, request_id, task)
        if output is None:
            self._jobs.start(request_id, partial(convert, self._codec, request_id, task))
        return output

    def start(self, request_id: str, read: Callable[[Cancelled], T]) -> None:
        """Read a large text. See ``TextJobs.start``."""
        self._jobs.start(request_id, read)

    def cancel(self, request_id: str) -> None:
        """Nobody waits for the text any more. Unknown ids are ignored."""
        self._jobs.cancel(request_id)

    def take(self, accept: Callable[[str, T], None]) -> Iterator[Output | Rejected]:
        """Give what was read since the last call to ``accept``, with the request's id.

        It may raise RequestError. Yields the requests that end here.
        """
        for request_id, result in self._jobs.take():
            try:
                if isinstance(result, RequestError):
                    raise result
                if isinstance(result, Output):
                    yield result
                else:
                    accept(request_id, result)
            except RequestError as error:
                yield error.rejected(request_id)
