"""What a worker tells of the prompts that it has read."""

from __future__ import annotations

from cupola.workers.read_beginnings import ReadBeginnings


def test_news_come_once() -> None:
    beginnings = ReadBeginnings()
    assert beginnings.news() is None
    beginnings.read("m", [b"one", b"two"])
    assert beginnings.news() == (b"one", b"two")
    beginnings.read("m", [b"one"])
    assert beginnings.news() is None, "the order is no news"
    beginnings.tell_again()
    assert beginnings.news() == (b"two", b"one")


def test_what_was_read_first_is_forgotten_first() -> None:
    beginnings = ReadBeginnings(most=2)
    beginnings.read("m", [b"one", b"two"])
    beginnings.read("m", [b"one", b"three"])
    assert beginnings.news() == (b"one", b"three")


def test_a_model_that_leaves_takes_its_own_with_it() -> None:
    beginnings = ReadBeginnings()
    beginnings.read("m", [b"one"])
    beginnings.read("n", [b"two"])
    beginnings.news()
    beginnings.forget("x")
    assert beginnings.news() is None
    beginnings.forget("m")
    assert beginnings.news() == (b"two",)
    beginnings.forget("n")
    assert beginnings.news() == ()
