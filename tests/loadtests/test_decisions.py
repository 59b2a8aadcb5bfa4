"""What the measurement of decisions asks, and the table that it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cupola.loadtests.decisions.labelled import Answer, forms, ranked_right
from cupola.loadtests.decisions.questions import Speed, lines
from cupola.loadtests.decisions.reviews import KINDS, choice, texts
from cupola.loadtests.decisions.texts import QUESTIONS, documents_of, statements


def test_every_round_asks_something_else():
    asked = [statements(seed) for seed in ("1 0 new", "1 0 known", "1 1 new")]
    assert [len(set(each)) for each in asked] == [QUESTIONS] * 3
    assert asked[0] != asked[1] != asked[2]
    assert statements("1 0 new") == asked[0]
    assert not set(documents_of(1)) & set(documents_of(2))


def test_ratios_are_those_of_the_medians():
    found = {
        ("known", "ours"): [Speed(20.0, 50.0), Speed(10.0, 40.0), Speed(12.0, 80.0)],
        ("known", "theirs"): [Speed(4.0, 200.0)],
        ("new", "ours"): [Speed(6.0, 90.0)],
        ("new", "theirs"): [Speed(3.0, 45.0)],
    }
    assert list(lines(8, "ours", found)) == [
        "| 8 | new | ours | 6.0 | 90 | | |",
        "| 8 | new | theirs | 3.0 | 45 | 2.00 | 0.50 |",
        "| 8 | known | ours | 12.0 | 50 | | |",
        "| 8 | known | theirs | 4.0 | 200 | 3.00 | 4.00 |",
    ]


def test_only_reviews_that_people_agree_about_are_asked(tmp_path: Path):
    rows = ["1\t3.2\tA warm and funny film.", "2\t0.4\tA film that has its moments.", "3\t-2\tBad."]
    files = KINDS["review"]
    (tmp_path / files[0]).write_text("\n".join(rows), "latin-1")
    (tmp_path / files[1]).write_text("4\t-1.5\tThe box was broken on arrival.\n", "latin-1")
    assert sorted(texts(tmp_path, "review")) == [
        ("A warm and funny film.", 3.2),
        ("The box was broken on arrival.", -1.5),
    ]


def test_other_texts_are_asked_about_in_the_same_words(tmp_path: Path):
    (tmp_path / KINDS["tweet"][0]).write_text("1\t2.7\tSo lucky to have such friends.", "latin-1")
    assert texts(tmp_path, "tweet") == [("So lucky to have such friends.", 2.7)]
    reviews, tweets = choice("review"), choice("tweet")
    assert reviews["instructions"].replace("review", "tweet") == tweets["instructions"]


def test_what_a_model_finds_of_a_review_is_compared_with_its_rating():
    first, backwards, grades, predicate, _ = forms("review")
    told = {"probabilities": [{"probability": 0.3}, {"probability": 0.7}], "option_mass": 0.5}
    assert first.read(told, 2.0) == Answer(0.3, 1, 0, 0.5, True)
    assert backwards.read(told, 2.0) == Answer(0.7, 1, 1, 0.5, True)
    assert predicate.read({"probability": 0.6, "option_mass": 0.5}, -2.0) == Answer(
        0.6, 0, 1, 0.5, False
    )
    told = {"probabilities": [{"probability": p} for p in (0, 0, 1, 0)], "option_mass": 0.5}
    assert [grades.read(told, rating).right for rating in (-3, -2, 2, 3)] == [0, 1, 2, 3]
    answers = [first.read(told, rating) for told, rating in ((_two(0.9), 3), (_two(0.4), -3))]
    assert ranked_right(answers) == 1
    assert ranked_right([*answers, first.read(_two(0.4), 3)]) == 0.75


def _two(probability: float) -> dict[str, Any]:
    probabilities = [{"probability": probability}, {"probability": 1 - probability}]
    return {"probabilities": probabilities, "option_mass": 0.5}
