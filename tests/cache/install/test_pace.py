import pytest

from cupola.cache.install.messages import InstallProgress
from cupola.cache.install.pace import Pace, Speed


def test_a_steady_download() -> None:
    pace = Pace()
    assert pace.at("download", 0, 1000, 0.0) == Speed()
    assert pace.at("download", 1, 1000, 0.1) == Speed()  # too early to say
    for second in range(1, 60):
        speed = pace.at("download", second * 10, 1000, float(second))
        assert speed.rate == pytest.approx(10)
        assert speed.left == pytest.approx(100 - second)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    for second in range(30):
        pace.at("download", second * 100, None, float(second))
    for second in range(30, 60):
        speed = pace.at("download", 2900 + (second - 29), None, float(second))
    assert speed.rate == pytest.approx(1, rel=0.2)
    assert speed.left is None


def test_a_stage_and_a_file_that_begin_again_are_counted_anew() -> None:
    pace = Pace()
    pace.at("download", 0, 100, 0.0)
    pace.at("download", 50, 100, 1.0)
    assert pace.at("download", 0, 100, 2.0) == Speed()
    assert pace.at("convert", 60, 100, 3.0) == Speed()


def test_nothing_comes_any_more() -> None:
    pace = Pace()
    pace.at("download", 0, 100, 0.0)
    assert pace.at("download", 50, 100, 1.0).rate == pytest.approx(50)
    slower = pace.at("download", 50, 100, 5.0).rate
    assert slower is not None and slower < 50


@pytest.mark.parametrize(
    ("rate", "left", "words"),
    [
        (None, None, ""),
        (53.72e6, None, "53.7 MB/s"),
        (53.72e6, 12.4, "53.7 MB/s, 12 s left"),
        (1e6, 119.0, "1.0 MB/s, 119 s left"),
        (1e6, 3600.0, "1.0 MB/s, 60 min left"),
    ],
)
def test_in_words(rate: float | None, left: float | None, words: str) -> None:
    assert InstallProgress("download", 1, 2, rate, left).pace == words
