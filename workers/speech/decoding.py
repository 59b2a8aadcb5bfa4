"""Runs the decoder: it begins the transcripts of windows, and adds a token to several at once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from cupola.workers.speech.log_mel import Floats
from cupola.workers.speech.speech_session import Row, SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.window_decoder import RISING, WindowDecoder
from cupola.workers.speech.window_scheduler import RunningWindow

logger = logging.getLogger(__name__)


class Decoding:
    def __init__(
        self, session: SpeechSession, tokens: SpeechTokens, text: Callable[[Sequence[int]], str]
    ) -> None:
        """``text``: what tokens say."""
        self._session = session
        self._tokens = tokens
        self._text = text

    def begin(self, running: RunningWindow) -> None:
        """Read what the transcript of a window begins with, after the window was heard.

        Raises what the runtime raises, and ValueError if the logits are not numbers.
        """
        running.decoder = self._decoder(running)
        self._read(running.slot, running.decoder)

    def step(self, rows: Sequence[RunningWindow]) -> list[Exception | None]:
        """A token more for each window. Returns what went wrong with each; None: nothing."""
        logits = self._run(rows) if rows else []
        return [self._take(row, own) for row, own in zip(rows, logits, strict=True)]

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
            self._text,
            (work.temperature,) if work.temperature > 0 else RISING,
            request.random(running.window),
        )

    def _language(self, slot: int) -> str:
        logits = self._session.read(slot, [self._tokens.start], [0])[0]
        languages = self._tokens.languages
        return max(languages, key=lambda name: logits[languages[name]])

    def _read(self, slot: int, decoder: WindowDecoder) -> None:
        """Read the prompt, again for each try that ends at once."""
        again = True
        while again:
            wanted = [decoder.start, len(decoder.prompt) - 1]
            logits = self._session.read(slot, decoder.prompt, wanted)
            if not _is_finite(logits):
                raise ValueError("the logits are not numbers")
            again = decoder.begin(logits)

    def _run(self, rows: Sequence[RunningWindow]) -> list[Floats | None]:
        """Logits of each row, until the next run; None if the model fails on it."""
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
                (logits,) = self._run([row])
                alone.append(None if logits is None else logits.copy())
            return alone
        return [each if _is_finite(each) else None for each in found]

    def _take(self, running: RunningWindow, logits: Floats | None) -> Exception | None:
        decoder = running.decoder
        assert decoder is not None
        if logits is None:
            return ValueError("a run failed")
        try:
            if decoder.take(logits):
                self._read(running.slot, decoder)
        except Exception as error:  # of whatever kind the runtime raises
            return error
        return None


def _is_finite(logits: Floats) -> bool:
    return math.isfinite(float(logits.sum()))  # much faster than to look at each
