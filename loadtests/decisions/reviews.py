"""Labelled questions about reviews, for ``cupola model calibrate``.

The reviews are those of films and products in the archive that the source distribution of
vaderSentiment 3.3.2 has in ``additional_resources/hutto_ICWSM_2014.tar.gz``; people have rated them
from -4 to 4. Half of the questions are about good ones, and half about bad ones.

    python -m loadtests.decisions.reviews hutto_ICWSM_2014 --count 160 > reviews.jsonl
    cupola model calibrate smollm2-135m reviews.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

FILES = ("amazonReviewSnippets_GroundTruth.txt", "movieReviewSnippets_GroundTruth.txt")
CLEAR = 1.5  # a rating that is as far from 0 as this says what a review is
SHORTEST, LONGEST = 20, 160  # characters
CHOICE: dict[str, Any] = {
    "type": "choice",
    "instructions": "What is the sentiment of this review?",
    "choices": [{"value": "positive"}, {"value": "negative"}],
}
PREDICATE: dict[str, Any] = {"type": "predicate", "instructions": "Is this review positive?"}


def reviews(folder: Path) -> list[tuple[str, bool]]:
    """Texts, and whether they are good, in an order that is always the same."""
    found = []
    for name in FILES:
        for line in (folder / name).read_text("latin-1").splitlines():
            _, rating, text = line.split("\t")
            if abs(float(rating)) >= CLEAR and SHORTEST <= len(text) <= LONGEST:
                found.append((text, float(rating) > 0))
    Random(7).shuffle(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--predicate", action="store_true", help="ask yes or no")
    given = parser.parse_args()
    left = dict.fromkeys((True, False), given.count // 2)
    for text, good in reviews(given.folder):
        if left[good]:
            left[good] -= 1
            answer = good if given.predicate else ("positive" if good else "negative")
            question = PREDICATE if given.predicate else CHOICE
            print(json.dumps({"input": text, "question": question, "answer": answer}))


if __name__ == "__main__":
    main()
