"""Load shapes: how many users at each moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.loadtests.users.shapes import SHAPES, users_at


@given(st.sampled_from(SHAPES), st.floats(0, 1, exclude_max=True), st.integers(1, 1000))
def test_there_is_a_user_and_never_more_than_the_peak(shape: str, share: float, peak: int) -> None:
    users = users_at(shape, share * 60, 60, peak)
    assert users is not None and 1 <= users <= peak


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("steady", [100, 100, 100, 100, 100]),
        ("steps", [20, 40, 60, 80, 100]),
        ("spike", [25, 25, 100, 25, 25]),
        ("ramp", [1, 20, 40, 60, 80]),
        ("day", [1, 35, 91, 91, 35]),
    ],
)
def test_shapes(shape: str, expected: list[int]) -> None:
    assert [users_at(shape, at, 50, 100) for at in (0, 10, 20, 30, 40)] == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_each_reaches_its_peak_and_ends(shape: str) -> None:
    heights = [users_at(shape, at / 10, 60, 16) for at in range(600)]
    assert max(height for height in heights if height) == 16
    assert users_at(shape, 60, 60, 16) is None


def test_an_unknown_shape_is_told() -> None:
    with pytest.raises(ValueError, match=r"'week'.*steady"):
        users_at("week", 0, 60, 16)
