"""From a task to a request with its spectrogram, or to the reason why there is none."""

from __future__ import annotations

from tokenizers import Tokenizer

from cupola.scheduler.protocol.messages import ErrorCode, Turn
from cupola.scheduler.protocol.tasks import Transcribe
from cupola.workers.model.backend import RequestError
from cupola.workers.model.text_jobs import Cancelled
from cupola.workers.speech.audio_file import read_audio
from cupola.workers.speech.log_mel import RATE, log_mel
from cupola.workers.speech.recording import Sound, SpeechRequest
from cupola.workers.speech.speech_session import SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens

_SHORTEST = 0.1  # seconds


class Intake:
    def __init__(
        self,
        session: SpeechSession,
        tokenizer: Tokenizer,
        tokens: SpeechTokens,
        recording_parts: int,
    ) -> None:
        """``recording_parts``: stretches of one recording, at most."""
        self._session = session
        self._recording_parts = recording_parts
        self._tokenizer = tokenizer
        self._tokens = tokens

    def check(self, work: Transcribe) -> None:
        """Raises RequestError for what this model cannot do."""
        languages = self._tokens.languages
        if not languages and (work.translate or work.language not in ("", "en")):
            text = "this model knows English only; a multilingual one is needed, as whisper-tiny"
            param = "model" if work.translate else "language"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, param)
        if languages and work.language and work.language not in languages:
            text = f"the model knows no language '{work.language}'"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "language")
        if work.words and not self._session.places_words:
            text = "the model was converted by an older version, without times of words; "
            text += (
                "convert it again: cupola model download MODEL --force, or, for a model of your "
            )
            text += "own, cupola model remove MODEL and then import it"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "model")

    def read(
        self, request_id: str, work: Transcribe, turn: Turn, cancelled: Cancelled
    ) -> SpeechRequest:
        """It may be called from any thread. Raises RequestError, CancelledError."""
        audio = read_audio(work.audio, cancelled)
        seconds = len(audio) / RATE
        if seconds < _SHORTEST:
            text = f"the audio is shorter than {_SHORTEST:g} seconds"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "audio")
        prompt = self._tokenizer.encode(" " + work.prompt.strip(), add_special_tokens=False).ids
        sound = Sound(log_mel(audio, self._session.bands), seconds)
        text_only = [token for token in prompt if token < self._tokens.end] if work.prompt else []
        return SpeechRequest(request_id, work, sound, text_only, turn, self._recording_parts)
