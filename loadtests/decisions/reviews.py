"""Labelled questions about short texts, for ``cupola model calibrate``.

The texts are in the archive that the source distribution of vaderSentiment 3.3.2 has in
``additional_resources/hutto_ICWSM_2014.tar.gz``; people have rated them from -4 to 4. Half of the
questions are about good ones, and half about bad ones. The form of Cupola's questions was chosen
with the reviews, and with nothing of the tweets and of the newspaper.

    python -m loadtests.decisions.reviews hutto_ICWSM_2014 --count 160 > reviews.jsonl
    cupola model calibrate smollm2-135m reviews.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

# The files of a kind of texts.
KINDS: Mapping[str, tuple[str, ...]] = {
    "review": ("amazonReviewSnippets_GroundTruth.txt", "movieReviewSnippets_GroundTruth.txt"),
    "tweet": ("tweets_GroundTruth.txt",),
    "sentence": ("nytEditorialSnippets_GroundTruth.txt",),
}
CLEAR = 1.5  # a rating that is as far from 0 as this says what a review is
SHORTEST, LONGEST = 20, 160  # characters


def choice(kind: str) -> dict[str, Any]:
    return {
        "type": "choice",
        "instructions": f"What is the sentiment of this {kind}?",
        "choices": [{"value": "positive"}, {"value": "negative"}],
    }


def predicate(kind: str) -> dict[str, Any]:
    return {"type": "predicate", "instructions": f"Is this {kind} positive?"}


def texts(folder: Path, kind: str) -> list[tuple[str, float]]:
    """Texts and their ratings, in an order that is always the same."""
    found = []
    for name in KINDS[kind]:
        for line in (folder / name).read_text("latin-1").splitlines():
            _, rating, text = line.split("\t")
            if abs(float(rating)) >= CLEAR and SHORTEST <= len(text) <= LONGEST:
                found.append((text, float(rating)))
    Random(7).shuffle(found)
    return found


def halves(folder: Path, count: int, kind: str) -> Iterator[tuple[str, float]]:
    """So many of them: as many good ones as bad ones."""
    left = dict.fromkeys((True, False), count // 2)
    for text, rating in texts(folder, kind):
        if left[rating > 0]:
            left[rating > 0] -= 1
            yield text, rating


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--kind", choices=KINDS, default="review")
    parser.add_argument("--predicate", action="store_true", help="ask yes or no")
    given = parser.parse_args()
    for text, rating in halves(given.folder, given.count, given.kind):
        good = rating > 0
        answer = good if given.predicate else ("positive" if good else "negative")
        question = predicate(given.kind) if given.predicate else choice(given.kind)
        print(json.dumps({"input": text, "question": question, "answer": answer}))


if __name__ == "__main__":
    main()
