"""What the measurement of decisions asks, and the table that it prints."""

from __future__ import annotations

from pathlib import Path

from cupola.loadtests.decisions.questions import Speed, lines
from cupola.loadtests.decisions.reviews import FILES, reviews
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
    (tmp_path / FILES[0]).write_text("\n".join(rows), "latin-1")
    (tmp_path / FILES[1]).write_text("4\t-1.5\tThe box was broken on arrival.\n", "latin-1")
    assert sorted(reviews(tmp_path)) == [
        ("A warm and funny film.", True),
        ("The box was broken on arrival.", False),
    ]
