"""How words are counted that a transcript has wrong."""

from __future__ import annotations

import pytest

from cupola.loadtests.speech import word_errors


@pytest.mark.parametrize(
    ("said", "meant", "wrong"),
    [
        ("Mr. Dashwood, he said.", "mister dashwood he said", 0),
        ("ill-disposed", "ill disposed", 0),
        ("a b c", "a x c", 1),
        ("a c", "a b c", 1),
        ("a b b c", "a b c", 1),
        ("", "a b c", 3),
        ("a b", "", 2),
    ],
)
def test_words_that_are_wrong_missing_or_too_many(said: str, meant: str, wrong: int) -> None:
    assert word_errors(said, meant) == (wrong, len(meant.split()))
