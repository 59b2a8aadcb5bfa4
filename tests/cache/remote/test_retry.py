from datetime import UTC, datetime

import pytest

from cupola.cache.remote.ranges import content_range, is_encoded
from cupola.cache.remote.retry import LONGEST_WAIT, is_temporary, retry_after, wait_seconds

NOW = datetime(2026, 11, 27, 20, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_go_better_later(status: int) -> None:
    assert is_temporary(status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 410, 416, 451, 501])
def test_what_will_not(status: int) -> None:
    assert not is_temporary(status)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Fri, 27 Nov 2026 20:00:30 GMT", 30.0),
        ("Fri, 27 Nov 2026 19:00:00 GMT", 0.0),
        ("Fri, 27 Nov 2026 20:00:30", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_what_a_server_asks_for(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds
    if seconds is not None:
        assert wait_seconds(1, {"retry-after": text}, NOW) == seconds


def test_own_waits_grow_are_spread_and_end() -> None:
    for attempt in range(1, 12):
        least, most = (wait_seconds(attempt, {}, NOW, chance) for chance in (0.0, 1.0))
        assert 0 < least < most == 2 * least <= LONGEST_WAIT
        assert most >= wait_seconds(attempt - 1, {}, NOW, 1.0) if attempt > 1 else True


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 0-9/100", (0, 10, 100)),
        ("bytes 5-5/*", (5, 6, None)),
        ("bytes */100", None),
        ("bytes 5-/9", None),
        ("items 0-9/100", None),
        ("", None),
    ],
)
def test_ranges(text: str, found: tuple[int, int, int | None] | None) -> None:
    assert content_range({"content-range": text}) == found


@pytest.mark.parametrize(("text", "encoded"), [("gzip", True), ("identity", False), ("", False)])
def test_encodings(text: str, encoded: bool) -> None:
    assert is_encoded({"content-encoding": text}) is encoded
