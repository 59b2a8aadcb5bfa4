"""What the worker needs of an engine. ``Engine`` runs models; ``EchoBackend`` has no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Rejected, Turn
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, Transcribe, Work


class RequestError(ValueError):
    """A request that this model cannot serve. The text is for the client.

    ``param``: the name of the field of the task, or of its sampling, that is wrong.
    """

    def __init__(self, code: ErrorCode, message: str, param: str = "") -> None:
        self.code = code
        self.param = param
        super().__init__(message)

    def rejected(self, request_id: str) -> Rejected:
        """The message that ends the request."""
        return Rejected(request_id, self.code, str(self), self.param)


def refuse_speech(work: Work | Embed | Decide | Transcribe) -> Work | Embed | Decide:
    """The work, for a model that hears nothing. Raises RequestError for a recording."""
    if isinstance(work, Transcribe):
        text = "this model hears no speech; use one whose task is automatic-speech-recognition"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
    return work


class Backend(Protocol):
    """A loaded model that works for many requests at once. It is used from one thread."""

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        """Accept a request. Raises RequestError; then the request is not known here.

        ``turn``: whose it is, and how urgent, where the backend serves them in another order.
        """

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        """Text to tokens or back. Raises RequestError; then the request is not known here.

        None: the text is large, and the output comes from ``step``.
        """

    def abort(self, request_id: str) -> Output | None:
        """Forget a request. No output of it follows. Unknown ids are ignored.

        Returns what it has cost and no output has told; None: nothing.
        """

    def step(self) -> Sequence[Output | Rejected]:
        """One run of the model over everything that is ready.

        A request ends with the output that has its usage, or with a ``Rejected``. Then the backend
        has forgotten it. An exception means that the engine and all its requests are lost.
        """

    @property
    def serving(self) -> Serving:
        """How the model runs; for people."""

    @property
    def capacity(self) -> int:
        """How many requests it runs at once, as far as is known now; 0: as many as others do."""

    @property
    def shared_bytes(self) -> int:
        """Bytes that the system counts more than once as resident memory of this process."""

    @property
    def postponed(self) -> frozenset[str]:
        """Ids of the requests that wait for their grammars. They take nobody's place."""

    def warm_up(self) -> bool:
        """Nobody uses it now: do a short piece of what makes later work faster.

        False: there is nothing to do for now.
        """

    def close(self) -> None:
        """It will not be used any more: write what is to outlive it. That may take seconds."""

    def rest(self, long: bool) -> None:
        """Nobody has used it for a while: give back memory that only makes later work faster.

        ``long``: nobody has for so long that none of it is kept.
        """

    @property
    def busy(self) -> bool:
        """Whether ``step`` has something to do."""
