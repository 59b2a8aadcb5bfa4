"""What is asked: states, statements about them, queries and documents, from seeds."""

from __future__ import annotations

from random import Random

QUESTIONS = 20  # about one state
STATE_WORDS = 980  # about 1,000 tokens
_DOCUMENT_WORDS, DOCUMENTS = 98, 50  # about 100 tokens each
_WORDS = (
    "parcel street winter garden customer letter machine colour window station teacher market "
    "river paper bridge doctor kitchen summer forest engine picture number village morning"
).split()
_ASKED = (
    "The text mentions a {}.",
    "Is the {} broken?",
    "Does somebody want a {} back?",
    "The writer is angry about the {}.",
    "Was the {} late?",
    "Is there more than one {}?",
)


def text_of(seed: str, words: int) -> str:
    return " ".join(Random(seed).choices(_WORDS, k=words))


def statements(seed: str, count: int = QUESTIONS) -> list[str]:
    everything = [form.format(word) for form in _ASKED for word in _WORDS]
    return Random(seed).sample(everything, count)


def query_of(number: int) -> str:
    return f"Which text is about the {_WORDS[number % len(_WORDS)]}?"


def documents_of(number: int, count: int = DOCUMENTS) -> list[str]:
    return [text_of(f"document {number} {each}", _DOCUMENT_WORDS) for each in range(count)]


def topic(number: int) -> str:
    """Of a chat."""
    return f"Tell me about the {_WORDS[number % len(_WORDS)]}."
