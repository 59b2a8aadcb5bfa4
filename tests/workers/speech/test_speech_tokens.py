"""What a transcript begins with: the language and the task."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cupola.workers.speech.speech_tokens import SpeechTokens
from tests.workers.speech.few_tokens import TOKENS

MULTILINGUAL = replace(TOKENS, languages={"en": 50, "de": 51})


@pytest.mark.parametrize(
    ("tokens", "language", "translate", "beginning"),
    [
        (TOKENS, "", False, [41]),
        (MULTILINGUAL, "en", False, [41, 50, 45]),
        (MULTILINGUAL, "de", False, [41, 51, 45]),
        (MULTILINGUAL, "de", True, [41, 51, 46]),
    ],
)
def test_a_model_of_several_languages_is_told_language_and_task(
    tokens: SpeechTokens, language: str, translate: bool, beginning: list[int]
) -> None:
    assert tokens.beginning(language, translate=translate) == beginning
