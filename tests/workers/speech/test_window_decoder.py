"""When a window is tried again at a higher temperature, and which try is taken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cupola.workers.speech.window_decoder import (
    RISING,
    Try,
    WindowDecoder,
    compression_ratio,
)
from tests.workers.speech.few_tokens import TOKENS

Floats = npt.NDArray[np.float32]


def spoken(token: int, sure: float) -> Floats:
    logits = np.zeros(TOKENS.vocabulary, np.float32)
    logits[TOKENS.first_time :] = -10
    logits[token] = sure
    return logits


def decoder(text: str, temperatures: tuple[float, ...] = RISING) -> WindowDecoder:
    return WindowDecoder(
        TOKENS,
        [TOKENS.previous, 5, TOKENS.start],
        limit=8,
        text=lambda tokens: text,
        temperatures=temperatures,
        random=np.random.default_rng(0),
    )


def speak(window: WindowDecoder, sure: float, silence: float = 0.0) -> int:
    """Decode to the end. Returns how many tries it took."""
    words = [TOKENS.first_time, 10, 11, 12, TOKENS.first_time + 50, TOKENS.end]
    tries, again = 0, True
    while again:
        tries += 1
        first = np.stack([spoken(TOKENS.no_speech, silence), spoken(words[0], sure)])
        again = window.begin(first)
        for word in [*words[1:], *[TOKENS.end] * 8]:
            if again or window.result is not None:
                break
            again = window.take(spoken(word, sure))
    return tries


def test_a_sure_transcript_is_taken_at_once() -> None:
    window = decoder("plain text")
    assert speak(window, sure=30) == 1
    assert window.result is not None
    assert window.result.tokens == (TOKENS.first_time, 10, 11, 12, TOKENS.first_time + 50)
    assert window.result.temperature == 0
    assert window.result.avg_logprob > -0.01


@pytest.mark.parametrize("text", ["plain text", "again " * 50])
def test_a_doubtful_transcript_is_tried_at_every_temperature(text: str) -> None:
    window = decoder(text)
    sure = 1.0 if text == "plain text" else 30.0
    assert speak(window, sure) == len(RISING)
    assert window.result is not None
    assert window.generated > len(RISING)


def test_with_a_temperature_of_the_clients_there_is_one_try() -> None:
    window = decoder("again " * 50, (0.3,))
    assert speak(window, sure=30) == 1
    assert window.result is not None and window.result.temperature == 0.3


def test_silence_is_not_tried_again() -> None:
    window = decoder("plain text")
    assert speak(window, sure=1, silence=30) == 1
    assert window.result is not None and window.result.is_silent


def test_a_transcript_ends_at_its_limit() -> None:
    window = decoder("plain text", (0.0,))
    window.begin(np.stack([spoken(0, 0), spoken(TOKENS.first_time, 30)]))
    while window.result is None:
        window.take(spoken(10, 30))
    assert len(window.result.tokens) == 8
    assert len(window.result.logprobs) == 8


def test_where_the_transcript_begins_and_its_next_token_lies() -> None:
    window = decoder("plain text")
    assert window.start == 2
    window.begin(np.stack([spoken(0, 0), spoken(TOKENS.first_time, 30)]))
    assert (window.next_token, window.position) == (TOKENS.first_time, 3)


@pytest.mark.parametrize(
    ("logprob", "ratio", "silence", "good"),
    [
        (-0.3, 1.5, 0.0, True),
        (-1.2, 1.5, 0.0, False),
        (-0.3, 2.5, 0.0, False),
        (-1.2, 1.5, 0.7, True),  # nobody speaks
        (-0.3, 1.5, 0.9, True),
    ],
)
def test_the_thresholds(logprob: float, ratio: float, silence: float, good: bool) -> None:
    assert Try((), (), 0.0, logprob, ratio, silence).is_good is good


def test_repetition_compresses_well() -> None:
    assert compression_ratio("") == 0
    assert compression_ratio("the same " * 40) > 2.4 > compression_ratio("some other words here")
