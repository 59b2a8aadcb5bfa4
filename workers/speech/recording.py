"""One request: its recording, the windows that wait, and the results in order. Pure.

A long recording is cut at silence into stretches, which do not depend on each other and are heard
side by side. Within a stretch the next window begins where the model has ended the one before, as
in Whisper's reference. With ``Transcribe.condition`` the whole recording is one stretch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from cupola.scheduler.protocol.messages import ANY_TURN, Turn
from cupola.scheduler.protocol.outputs import Output, Recording, Segment, TokenLogprob, Usage
from cupola.scheduler.protocol.tasks import Transcribe
from cupola.workers.speech.log_mel import FRAMES_A_SECOND, Floats
from cupola.workers.speech.segments import Split
from cupola.workers.speech.windows import WINDOW, Silence, stretches

_LEFT_OVER = 2 * FRAMES_A_SECOND // 5  # frames behind a window that are not worth another one


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording as the model hears it."""

    mel: Floats
    seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    stretch: int
    frames: range

    @property
    def start(self) -> float:
        return self.frames.start / FRAMES_A_SECOND

    @property
    def seconds(self) -> float:
        return len(self.frames) / FRAMES_A_SECOND


@dataclass(frozen=True, slots=True)
class Result:
    segments: tuple[Segment, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()

    def heard(self, window: Window, parts: Split) -> float:
        """Seconds of the window that need not be heard again.

        The end of a word is known better than that of a segment.
        """
        words = self.segments[-1].words if self.segments else ()
        if words and not parts.is_over and words[-1].end > window.start:
            return words[-1].end - window.start
        return parts.heard


@dataclass(slots=True)
class _Stretch:
    frames: range
    is_open: bool = True
    results: deque[Result] = field(default_factory=deque)  # that were not taken yet
    spoken_until: float = 0.0  # seconds of the recording


@dataclass(slots=True)
class SpeechRequest:
    request_id: str
    work: Transcribe
    sound: Sound
    before: list[int]  # tokens of the text that the next window continues
    turn: Turn = ANY_TURN
    recording_parts: int = 1  # stretches, at most
    language: str = ""
    generated: int = 0
    prompt_tokens: int = 0
    waiting: deque[Window] = field(default_factory=deque)
    _stretches: list[_Stretch] = field(default_factory=list)
    _silence: Silence = field(init=False)
    _current: int = 0  # the stretch whose results are taken

    def __post_init__(self) -> None:
        self.language = self.work.language
        mel = self.sound.mel
        cuts = stretches(mel, 1 if self.work.condition else self.recording_parts)
        self._silence = Silence(mel)
        self._stretches = [_Stretch(cut, spoken_until=cut.start / FRAMES_A_SECOND) for cut in cuts]
        for number, cut in enumerate(cuts):
            start = self._silence.end(cut.start, cut.stop)
            if start < cut.stop:
                self.waiting.append(self._window(number, start))
            else:
                self._stretches[number].is_open = False

    def finish(self, window: Window, result: Result, heard: float, *, forget: bool) -> None:
        """A window has its result. ``heard``: seconds of it. ``forget``: do not continue it."""
        stretch = self._stretches[window.stretch]
        stretch.results.append(result)
        if result.segments:
            stretch.spoken_until = result.segments[-1].end
        if self.work.condition:
            if forget:
                self.before.clear()
            for segment in result.segments:
                self.before += segment.tokens
        start = window.frames.start + max(FRAMES_A_SECOND, round(heard * FRAMES_A_SECOND))
        start = self._silence.end(start, stretch.frames.stop, _LEFT_OVER)
        if stretch.frames.stop - start > _LEFT_OVER:
            self.waiting.appendleft(self._window(window.stretch, start))
        else:
            stretch.is_open = False

    def _window(self, stretch: int, start: int) -> Window:
        stop = self._stretches[stretch].frames.stop
        return Window(stretch, range(start, min(stop, start + WINDOW)))

    def random(self, window: Window) -> np.random.Generator:
        """For what is drawn at a temperature.

        A recording has the same transcript again, whatever is heard beside it. Only a client that
        asks for a temperature and gives no seed gets another one.
        """
        if self.work.seed is None and self.work.temperature > 0:
            return np.random.default_rng()
        seed = (self.work.seed or 0) % 2**64  # it may be negative
        return np.random.default_rng((seed, window.frames.start))

    def spoken_until(self, window: Window) -> float:
        """When the last word before the window ended, as far as is known, in seconds."""
        return self._stretches[window.stretch].spoken_until

    def take(self) -> list[Result]:
        """The results that come next and are there."""
        ready = list[Result]()
        while not self.is_done:
            stretch = self._stretches[self._current]
            ready += stretch.results
            stretch.results.clear()
            if stretch.is_open:
                break
            self._current += 1
        return ready

    def output(self, result: Result) -> Output:
        return Output(
            self.request_id,
            "".join(segment.text for segment in result.segments),
            segments=result.segments,
            recording=self.summary,
            logprobs=result.logprobs,
            made=sum(len(segment.tokens) for segment in result.segments),
        )

    def end(self) -> Output:
        """The last output."""
        return Output(self.request_id, usage=self.usage, recording=self.summary)

    @property
    def is_done(self) -> bool:
        """Whether all results were taken."""
        return self._current == len(self._stretches)

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.generated)

    @property
    def summary(self) -> Recording:
        return Recording(self.sound.seconds, self.language or "en")
