"""The backend that turns speech into text. The windows of all requests share the decoder's runs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

from tokenizers import Tokenizer

from cupola.scheduler.protocol.messages import ANY_TURN, ErrorCode, Rejected, Turn
from cupola.scheduler.protocol.outputs import Output
from cupola.scheduler.protocol.status import Serving
from cupola.scheduler.protocol.tasks import Decide, Decode, Embed, Encode, Transcribe, Work
from cupola.workers.device.machine import lower_priority
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text_jobs import TextJobs
from cupola.workers.speech.intake import Intake
from cupola.workers.speech.listening import Listening, RunningWindow
from cupola.workers.speech.log_mel import Floats
from cupola.workers.speech.pace import Pace
from cupola.workers.speech.recording import Result, SpeechRequest
from cupola.workers.speech.results import Results
from cupola.workers.speech.segments import split
from cupola.workers.speech.speech_session import Row, SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.turns import decodes, next_request
from cupola.workers.speech.window_decoder import RISING, WindowDecoder

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
        self._session = session
        self._tokens = tokens
        self._clock = clock
        self._pace = Pace(itl_seconds)
        self._ended = clock()  # the last step
        # Minutes of sound take a second to read, and answers of other models go first.
        self._reading: TextJobs[SpeechRequest] = TextJobs(wake, lower_priority)
        self._requests: dict[str, SpeechRequest] = {}  # whose turn is next comes first
        self._running: list[RunningWindow] = []
        self._going = False  # windows are being decoded
        self._listening = Listening(session, wake)
        self._intake = Intake(session, tokenizer, tokens, recording_parts)
        self._results = Results(session, tokenizer, tokens)

    @property
    def busy(self) -> bool:
        if self._reading.ready or self._decodes:
            return True
        if self._listening.window is not None:
            return self._listening.ready
        return any(request.waiting for request in self._requests.values())

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
        self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        """Its slots are free from now on, but for the one that is being written."""
        self._requests.pop(request_id, None)
        self._running = [
            each
            for each in self._running
            if each is self._listening.window or each.request.request_id != request_id
        ]

    def step(self) -> list[Output | Rejected]:
        """Between two steps the other models of the worker have had theirs."""
        began = self._clock()
        runs = self._pace.runs(began - self._ended if self._going else 0.0)
        outputs = self._admit()
        self._going = self._decodes
        while runs and self._going:
            outputs += self._decode()
            self._going = self._decodes
            runs -= 1
        self._ended = self._clock()
        self._pace.took(self._ended - began)
        return outputs

    def _admit(self) -> list[Output | Rejected]:
        """Take what the threads have read and heard, and start the encoder if it is idle."""
        outputs: list[Output | Rejected] = []
        for request_id, read in self._reading.take():
            if isinstance(read, RequestError):
                outputs.append(read.rejected(request_id))
            elif read.waiting:
                self._requests[request_id] = read
            else:
                outputs.append(read.end())  # all of it is silence
        outputs += self._take_heard()
        self._hear_next()
        return outputs

    def _decode(self) -> list[Output | Rejected]:
        """A token more for each window that is ready."""
        began, rows = self._clock(), self._ready
        outputs: list[Output | Rejected] = []
        for running, logits in zip(rows, self._step(rows), strict=True):
            outputs += self._took(running, logits)
        self._pace.ran(self._clock() - began)
        return outputs

    @property
    def _ready(self) -> list[RunningWindow]:
        return [each for each in self._running if each.decoder is not None]

    @property
    def _decodes(self) -> bool:
        hears = self._listening.window is not None
        return decodes(len(self._ready), hears=hears, going=self._going)

    # -- the encoder -------------------------------------------------------------------------------

    def _hear_next(self) -> None:
        """Start the encoder, if it is idle and a window and a slot are there."""
        if self._listening.window is not None:
            return
        used = {each.slot for each in self._running}
        slot = next((slot for slot in range(self._session.slots) if slot not in used), None)
        running = [each.request for each in self._running]
        request = next_request(self._requests.values(), running)
        if slot is None or request is None:
            return
        self._requests[request.request_id] = self._requests.pop(request.request_id)  # to the end
        window = request.waiting.popleft()
        heard = RunningWindow(request, window, slot)
        self._running.append(heard)
        self._listening.start(heard)

    def _take_heard(self) -> list[Output | Rejected]:
        if (heard := self._listening.take()) is None:
            return []
        running, wrong = heard
        if running.request.request_id not in self._requests:
            self._running.remove(running)
            return []
        if wrong is not None:
            return self._failed(running, wrong)
        try:
            running.decoder = self._decoder(running)
            return self._begin(running)
        except Exception as error:  # of whatever kind the runtime raises
            return self._failed(running, error)

    # -- the decoder -------------------------------------------------------------------------------

    def _decoder(self, running: RunningWindow) -> WindowDecoder:
        request, tokens = running.request, self._tokens
        work = request.work
        if tokens.languages and not request.language:
            request.language = self._language(running.slot)
        beginning = tokens.beginning(request.language, translate=work.translate)
        limit = self._session.context // 2
        before = request.before[-(limit - 1) :]
        prompt = [*([tokens.previous, *before] if before else []), *beginning]
        request.prompt_tokens += len(prompt)
        return WindowDecoder(
            tokens,
            prompt,
            min(limit, self._session.context - len(prompt)),
            self._results.text,
            (work.temperature,) if work.temperature > 0 else RISING,
            request.random(running.window),
        )

    def _language(self, slot: int) -> str:
        logits = self._session.read(slot, [self._tokens.start], [0])[0]
        languages = self._tokens.languages
        return max(languages, key=lambda name: logits[languages[name]])

    def _begin(self, running: RunningWindow) -> list[Output | Rejected]:
        """Read the prompt, again for each try that ends at once."""
        decoder = running.decoder
        assert decoder is not None
        again = True
        while again:
            wanted = [decoder.start, len(decoder.prompt) - 1]
            logits = self._session.read(running.slot, decoder.prompt, wanted)
            if not _is_finite(logits):
                return self._failed(running, ValueError("the logits are not numbers"))
            again = decoder.begin(logits)
        return self._finished(running, decoder) if decoder.result is not None else []

    def _step(self, rows: Sequence[RunningWindow]) -> list[Floats | None]:
        """Logits of each row, until the next step; None if the model fails on it."""
        if not rows:
            return []
        wanted = [
            Row(each.slot, each.decoder.position, each.decoder.next_token)
            for each in rows
            if each.decoder is not None
        ]
        try:
            found = self._session.step(wanted)
        except Exception as error:  # of whatever kind the runtime raises
            logger.error("a run of %d windows failed: %s", len(rows), error)
            self._session.rebuild()
            if len(rows) == 1:
                return [None]
            alone = list[Floats | None]()
            for row in rows:
                (logits,) = self._step([row])
                alone.append(None if logits is None else logits.copy())
            return alone
        return [each if _is_finite(each) else None for each in found]

    def _took(self, running: RunningWindow, logits: Floats | None) -> list[Output | Rejected]:
        decoder = running.decoder
        if running not in self._running or decoder is None:
            return []  # another of its windows has failed
        if logits is None:
            return self._failed(running, ValueError("a run failed"))
        if decoder.take(logits):
            return self._begin(running)
        return self._finished(running, decoder) if decoder.result is not None else []

    def _failed(self, running: RunningWindow, error: BaseException) -> list[Output | Rejected]:
        request_id = running.request.request_id
        logger.error("the model failed on a window: %s", error)
        self._forget(request_id)
        text = f"the model failed on the audio at {running.window.start:.0f} s"
        return [Rejected(request_id, ErrorCode.INTERNAL, text)]

    # -- results -----------------------------------------------------------------------------------

    def _finished(self, running: RunningWindow, decoder: WindowDecoder) -> list[Output | Rejected]:
        result, request, window = decoder.result, running.request, running.window
        assert result is not None
        request.generated += decoder.generated
        parts = split(result.tokens, window.seconds, self._tokens)
        try:
            found = Result() if result.is_silent else self._results.of(running, result, parts)
        except Exception as error:  # of whatever kind the runtime raises
            return self._failed(running, error)
        self._running.remove(running)
        heard = window.seconds if result.is_silent else found.heard(window, parts)
        forget = result.temperature > _FORGET_ABOVE
        request.finish(window, found, heard, forget=forget)
        outputs: list[Output | Rejected] = [request.output(each) for each in request.take()]
        if request.is_done:
            del self._requests[request.request_id]
            outputs.append(request.end())
        return outputs


def _is_finite(logits: Floats) -> bool:
    return math.isfinite(float(logits.sum()))  # much faster than to look at each
