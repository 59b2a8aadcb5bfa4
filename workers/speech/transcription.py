"""The backend that turns speech into text. The windows of all requests share the decoder's runs.

The encoder runs in a thread of its own, one window at a time: several would not be faster, and the
other models of the worker go on meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from tokenizers import Tokenizer

from cupola.scheduler.protocol.messages import (
    ANY_TURN,
    Decide,
    Decode,
    Embed,
    Encode,
    ErrorCode,
    Output,
    Rejected,
    Segment,
    Serving,
    TokenLogprob,
    Transcribe,
    Turn,
    Work,
)
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text_jobs import Cancelled, TextJobs
from cupola.workers.speech.audio_file import read_audio
from cupola.workers.speech.log_mel import RATE, Floats, log_mel
from cupola.workers.speech.recording import Result, Sound, SpeechRequest, Window
from cupola.workers.speech.segments import Split, split
from cupola.workers.speech.speech_session import Row, SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.window_decoder import RISING, Try, WindowDecoder
from cupola.workers.speech.windows import features

logger = logging.getLogger(__name__)

_SHORTEST = 0.1  # seconds
_FORGET_ABOVE = 0.5  # a window of a higher temperature is not continued


@dataclass(slots=True)
class _Running:
    """A window that has a slot."""

    request: SpeechRequest
    window: Window
    slot: int
    decoder: WindowDecoder | None = None  # None: it is being heard


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
    ) -> None:
        """``wake`` is called from another thread when there is new work."""
        self._session = session
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._wake = wake
        self._reading: TextJobs[SpeechRequest] = TextJobs(wake)
        self._requests: dict[str, SpeechRequest] = {}  # whose turn is next comes first
        self._running: list[_Running] = []
        self._ear = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._hearing: tuple[_Running, Future[None]] | None = None

    @property
    def busy(self) -> bool:
        if self._reading.ready or any(each.decoder is not None for each in self._running):
            return True
        if self._hearing is not None:
            return self._hearing[1].done()
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
        self._check(work)
        self._reading.start(request_id, partial(self._read, request_id, work))

    def _check(self, work: Transcribe) -> None:
        languages = self._tokens.languages
        if not languages and (work.translate or work.language not in ("", "en")):
            text = "this model knows English only; a multilingual one is needed, as whisper-tiny"
            param = "model" if work.translate else "language"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, param)
        if languages and work.language and work.language not in languages:
            text = f"the model knows no language '{work.language}'"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "language")

    def _read(self, request_id: str, work: Transcribe, cancelled: Cancelled) -> SpeechRequest:
        """It is called in a thread. Raises RequestError, CancelledError."""
        audio = read_audio(work.audio, cancelled)
        seconds = len(audio) / RATE
        if seconds < _SHORTEST:
            text = f"the audio is shorter than {_SHORTEST:g} seconds"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "audio")
        prompt = self._tokenizer.encode(" " + work.prompt.strip(), add_special_tokens=False).ids
        sound = Sound(log_mel(audio, self._session.bands), seconds)
        text_only = [token for token in prompt if token < self._tokens.end] if work.prompt else []
        return SpeechRequest(request_id, work, sound, text_only)

    def abort(self, request_id: str) -> None:
        """See ``Backend.abort``."""
        self._reading.cancel(request_id)
        self._forget(request_id)

    def _forget(self, request_id: str) -> None:
        """Its slots are free from now on, but for the one that is being written."""
        self._requests.pop(request_id, None)
        hearing = self._hearing[0] if self._hearing else None
        self._running = [
            each
            for each in self._running
            if each is hearing or each.request.request_id != request_id
        ]

    def step(self) -> list[Output | Rejected]:
        outputs: list[Output | Rejected] = []
        for request_id, read in self._reading.take():
            if isinstance(read, RequestError):
                outputs.append(read.rejected(request_id))
            else:
                self._requests[request_id] = read
        outputs += self._take_heard()
        self._hear_next()
        rows = [each for each in self._running if each.decoder is not None]
        for running, logits in zip(rows, self._step(rows), strict=True):
            outputs += self._took(running, logits)
        return outputs

    # -- the encoder -------------------------------------------------------------------------------

    def _hear_next(self) -> None:
        """Start the encoder, if it is idle and a window and a slot are there."""
        if self._hearing is not None:
            return
        used = {each.slot for each in self._running}
        slot = next((slot for slot in range(self._session.slots) if slot not in used), None)
        request = next((each for each in self._requests.values() if each.waiting), None)
        if slot is None or request is None:
            return
        self._requests[request.request_id] = self._requests.pop(request.request_id)  # to the end
        window = request.waiting.popleft()
        running = _Running(request, window, slot)
        self._running.append(running)
        heard = features(request.sound.mel, window.frames)
        future = self._ear.submit(self._session.encode, heard, slot)
        self._hearing = (running, future)
        future.add_done_callback(lambda _: self._wake())

    def _take_heard(self) -> list[Output | Rejected]:
        if self._hearing is None or not self._hearing[1].done():
            return []
        (running, future), self._hearing = self._hearing, None
        if running.request.request_id not in self._requests:
            self._running.remove(running)
            return []
        try:
            future.result()
            running.decoder = self._decoder(running)
            return self._begin(running)
        except Exception as error:  # of whatever kind the runtime raises
            return self._failed(running, error)

    # -- the decoder -------------------------------------------------------------------------------

    def _decoder(self, running: _Running) -> WindowDecoder:
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
            self._text,
            (work.temperature,) if work.temperature > 0 else RISING,
            request.random,
        )

    def _language(self, slot: int) -> str:
        logits = self._session.read(slot, [self._tokens.start], [0])[0]
        languages = self._tokens.languages
        return max(languages, key=lambda name: logits[languages[name]])

    def _begin(self, running: _Running) -> list[Output | Rejected]:
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

    def _step(self, rows: Sequence[_Running]) -> list[Floats | None]:
        """Logits of each row; None if the model fails on it."""
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
            return [each for row in rows for each in self._step([row])]
        return [each.copy() if _is_finite(each) else None for each in found]

    def _took(self, running: _Running, logits: Floats | None) -> list[Output | Rejected]:
        decoder = running.decoder
        if running not in self._running or decoder is None:
            return []  # another of its windows has failed
        if logits is None:
            return self._failed(running, ValueError("a run failed"))
        if decoder.take(logits):
            return self._begin(running)
        return self._finished(running, decoder) if decoder.result is not None else []

    def _failed(self, running: _Running, error: Exception) -> list[Output | Rejected]:
        request_id = running.request.request_id
        logger.error("the model failed on a window: %s", error)
        self._forget(request_id)
        text = f"the model failed on the audio at {running.window.start:.0f} s"
        return [Rejected(request_id, ErrorCode.INTERNAL, text)]

    # -- results -----------------------------------------------------------------------------------

    def _finished(self, running: _Running, decoder: WindowDecoder) -> list[Output | Rejected]:
        result, request, window = decoder.result, running.request, running.window
        assert result is not None
        self._running.remove(running)
        request.generated += decoder.generated
        parts = split(result.tokens, window.seconds, self._tokens)
        found = Result() if result.is_silent else self._result(result, parts, window, request.work)
        heard = window.seconds if result.is_silent else parts.heard
        forget = result.temperature > _FORGET_ABOVE
        request.finish(window, found, heard, forget=forget)
        outputs: list[Output | Rejected] = []
        for each in request.take():
            outputs.append(self._output(request, each))
        if request.is_done:
            del self._requests[request.request_id]
            last = Output(request.request_id, usage=request.usage, recording=request.summary)
            outputs.append(last)
        return outputs

    def _output(self, request: SpeechRequest, result: Result) -> Output:
        return Output(
            request.request_id,
            "".join(segment.text for segment in result.segments),
            segments=result.segments,
            logprobs=result.logprobs,
            made=sum(len(segment.tokens) for segment in result.segments),
        )

    def _result(self, result: Try, parts: Split, window: Window, work: Transcribe) -> Result:
        segments = []
        for piece in parts.pieces:
            text = self._text(piece.tokens)
            if not text.strip():
                continue
            segments.append(
                Segment(
                    round(window.start + piece.start, 2),
                    round(window.start + piece.end, 2),
                    text,
                    piece.tokens,
                    round(window.start, 2),
                    result.temperature,
                    result.avg_logprob,
                    result.compression_ratio,
                    result.no_speech_prob,
                )
            )
        return Result(tuple(segments), self._logprobs(result) if work.logprobs else ())

    def _logprobs(self, result: Try) -> tuple[TokenLogprob, ...]:
        return tuple(
            TokenLogprob(self._text([token]).encode(), logprob)
            for token, logprob in zip(result.tokens, result.logprobs, strict=True)
            if token < self._tokens.end
        )

    def _text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


def _is_finite(logits: Floats) -> bool:
    return bool(np.isfinite(logits).all())
