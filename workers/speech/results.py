"""From the transcript of a window to what a client gets: segments, words, log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from cupola.scheduler.protocol.outputs import Segment, SpokenWord, TokenLogprob
from cupola.workers.speech.alignment import POSITIONS_A_SECOND, token_times
from cupola.workers.speech.recording import Result
from cupola.workers.speech.segments import Piece, Split
from cupola.workers.speech.speech_session import SpeechSession
from cupola.workers.speech.speech_tokens import SpeechTokens
from cupola.workers.speech.token_rules import probabilities
from cupola.workers.speech.window_decoder import Try
from cupola.workers.speech.window_scheduler import RunningWindow
from cupola.workers.speech.words import SegmentTimes, TimedWord, place, split_words, timed_words


class Results:
    def __init__(self, session: SpeechSession, tokenizer: Tokenizer, tokens: SpeechTokens) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._tokens = tokens
        # Where nobody has said which follow the audio: all of the upper half of the layers.
        self._heads = [
            (layer, head)
            for layer, head in tokens.alignment_heads
            if 0 <= layer < session.layers and 0 <= head < session.heads
        ] or session.upper_heads

    def text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def of(self, running: RunningWindow, heard: Try, parts: Split) -> Result:
        """``running`` must still have its slot."""
        request, window = running.request, running.window
        pieces = [piece for piece in parts.pieces if self.text(piece.tokens).strip()]
        if request.work.words:
            timed = self._words(running, pieces)
        else:
            timed = [SegmentTimes(each.start, each.end, len(each.tokens), []) for each in pieces]
        segments = tuple(
            Segment(
                round(window.start + times.start, 2),
                round(window.start + times.end, 2),
                self.text(piece.tokens),
                piece.tokens,
                round(window.start, 2),
                heard.temperature,
                heard.avg_logprob,
                heard.compression_ratio,
                heard.no_speech_prob,
                tuple(_word(each, window.start) for each in times.words),
            )
            for piece, times in zip(pieces, timed, strict=True)
        )
        return Result(segments, self._logprobs(heard) if request.work.logprobs else ())

    def _words(self, running: RunningWindow, pieces: Sequence[Piece]) -> list[SegmentTimes]:
        request, window = running.request, running.window
        text = [token for piece in pieces for token in piece.tokens]
        segments = [SegmentTimes(each.start, each.end, len(each.tokens), []) for each in pieces]
        positions = int(window.seconds * POSITIONS_A_SECOND)
        if not text or not positions:
            return segments
        beginning = self._tokens.beginning(request.language, translate=request.work.translate)
        first = len(beginning)
        known = [*beginning, self._tokens.no_times, *text, self._tokens.end]
        wanted = range(first, first + len(text))
        found = self._session.attend(running.slot, known, wanted, self._heads, positions)
        sure = probabilities(found.logits[:, : self._tokens.end], text)
        words = timed_words(
            split_words(text, self.text, request.language),
            token_times(found.weights, first),
            sure,
        )
        place(words, segments, request.spoken_until(window) - window.start)
        return segments

    def _logprobs(self, heard: Try) -> tuple[TokenLogprob, ...]:
        return tuple(
            TokenLogprob(self.text([token]).encode(), logprob)
            for token, logprob in zip(heard.tokens, heard.logprobs, strict=True)
            if token < self._tokens.end
        )


def _word(word: TimedWord, offset: float) -> SpokenWord:
    start, end = round(offset + word.start, 2), round(offset + word.end, 2)
    return SpokenWord(word.text.strip(), start, max(start, end), word.probability)
