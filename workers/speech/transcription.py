"""The backend that turns speech into text. The windows of all requests share the decoder's runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

from tokenizers import Tokenizer

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Rejected, Turn
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, Transcribe, Work
from cupola.workers.device.machine import lower_priority
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text_jobs import TextJobs
from cupola.workers.speech.decoding import Decoding
from cupola.workers.speech.intake import Intake
from cupola.workers.speech.listening import Listening
from cupola.workers.speech.pace import Pace
from cupola.workers.speech.recording import Result, SpeechRequest
from cupola.workers.speech.results import Results
from cupola.workers.speech.segments import split
from cupola.workers.speech.speech_session import SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.window_decoder import WindowDecoder
from cupola.workers.speech.window_scheduler import RunningWindow, WindowScheduler

logger = logging.getLogger(__name__)

_FORGET_ABOVE = 0.5  # a window of a higher temperature is not continued


class TranscriptionBackend:
    """See ``backend.Backend`` for the contract."""

    serving = Serving("speech")
    capacity = 0
    shared_bytes = 0
    postponed: frozenset[str] = frozenset()

    def __init__(
        self,
        session: SpeechSession,
        tokenizer: Tokenizer,
        tokens: SpeechTokens,
        wake: Callable[[], None] = lambda: None,
        *,
        recording_parts: int = 1,
        itl_seconds: float = 0.1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``wake`` is called from another thread when there is new work.

        ``recording_parts``: stretches of one recording that are heard at once, at most.
        ``itl_seconds``: between two tokens of the answers of other models, as far as possible.
        """
        self._tokens = tokens
        self._clock = clock
        self._pace = Pace(itl_seconds)
        self._ended = clock()  # the last step
        # Minutes of sound take a second to read, and answers of other models go first.
        self._reading: TextJobs[SpeechRequest] = TextJobs(wake, lower_priority)
        self._going = False  # windows are being decoded
        self._windows = WindowScheduler(session.slots)
        self._listening = Listening(session, wake)
        self._intake = Intake(session, tokenizer, tokens, recording_parts)
        self._results = Results(session, tokenizer, tokens)
        self._decoding = Decoding(session, tokens, self._results.text)

    @property
    def busy(self) -> bool:
        if self._reading.ready or self._decodes:
            return True
        if self._listening.window is not None:
            return self._listening.ready
        return self._windows.waiting

    def close(self) -> None:
        """It keeps nothing."""

    def warm_up(self) -> bool:
        return False

    def rest(self, long: bool) -> None:
        """It keeps nothing that could be given back."""

    def convert(self, request_id: str, task: Encode | Decode) -> Output | None:
        text = "this model transcribes speech: use POST /v1/audio/transcriptions"
        raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")

    def add(
        self, request_id: str, work: Work | Embed | Decide | Transcribe, turn: Turn = ANY_TURN
    ) -> None:
        if not isinstance(work, Transcribe):
            text = "this model transcribes speech and makes nothing else of text: "
            text += "use POST /v1/audio/transcriptions"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")
        self._intake.check(work)
        self._reading.start(request_id, partial(self._intake.read, request_id, work, turn))

    def abort(self, request_id: str) -> None:
        """See ``Backend.abort``."""
        self._reading.cancel(request_id)
        self._windows.end(request_id, self._listening.window)

    def step(self) -> list[Output | Rejected]:
        """Between two steps the other models of the worker have had theirs."""
        began = self._clock()
        runs = self._pace.runs(began - self._ended if self._going else 0.0)
        outputs = [*self._take_read(), *self._take_heard()]
        self._hear_next()
        self._going = self._decodes
        while runs and self._going:
            outputs += self._decode()
            self._going = self._decodes
            runs -= 1
        self._ended = self._clock()
        self._pace.took(self._ended - began)
        return outputs

    @property
    def _decodes(self) -> bool:
        return self._windows.decodes(hears=self._listening.window is not None, going=self._going)

    # -- from the recording to its transcript ------------------------------------------------------

    def _take_read(self) -> Iterator[Output | Rejected]:
        """The requests whose recordings were read begin, or end at once."""
        for request_id, read in self._reading.take():
            if isinstance(read, RequestError):
                yield read.rejected(request_id)
            elif read.waiting:
                self._windows.add(read)
            else:
                yield read.end()  # all of it is silence

    def _hear_next(self) -> None:
        """Start the encoder, if it is idle and a window and a slot are there."""
        if self._listening.window is None and (running := self._windows.next()) is not None:
            self._listening.start(running)

    def _take_heard(self) -> list[Output | Rejected]:
        """Begin the transcript of a window that was heard."""
        if (heard := self._listening.take()) is None:
            return []
        running, error = heard
        if running not in self._windows:  # its request has ended
            self._windows.release(running)
            return []
        if error is None:
            try:
                self._decoding.begin(running)
            except Exception as wrong:  # of whatever kind the runtime raises
                error = wrong
        return self._advanced(running, error)

    def _decode(self) -> list[Output | Rejected]:
        """A token more for each window that is ready."""
        began, ready = self._clock(), self._windows.ready
        outputs: list[Output | Rejected] = []
        for running, error in zip(ready, self._decoding.step(ready), strict=True):
            if running in self._windows:  # else another window of its request has failed
                outputs += self._advanced(running, error)
        self._pace.ran(self._clock() - began)
        return outputs

    def _advanced(
        self, running: RunningWindow, error: BaseException | None
    ) -> list[Output | Rejected]:
        """The outputs of a window that has got a token, or for which the model has failed."""
        if error is not None:
            return self._failed(running, error)
        decoder = running.decoder
        assert decoder is not None
        return [] if decoder.result is None else self._finished(running, decoder)

    def _finished(self, running: RunningWindow, decoder: WindowDecoder) -> list[Output | Rejected]:
        result, request, window = decoder.result, running.request, running.window
        assert result is not None
        request.generated += decoder.generated
        parts = split(result.tokens, window.seconds, self._tokens)
        try:
            found = Result() if result.is_silent else self._results.of(running, result, parts)
        except Exception as error:  # of whatever kind the runtime raises
            return self._failed(running, error)
        self._windows.release(running)
        heard = window.seconds if result.is_silent else found.heard(window, parts)
        forget = result.temperature > _FORGET_ABOVE
        request.finish(window, found, heard, forget=forget)
        outputs: list[Output | Rejected] = [request.output(each) for each in request.take()]
        if request.is_done:
            self._windows.end(request.request_id)
            outputs.append(request.end())
        return outputs

    def _failed(self, running: RunningWindow, error: BaseException) -> list[Output | Rejected]:
        request_id = running.request.request_id
        logger.error("the model failed on a window: %s", error)
        self._windows.end(request_id, self._listening.window)
        text = f"the model failed on the audio at {running.window.start:.0f} s"
        return [Rejected(request_id, ErrorCode.INTERNAL, text)]
