"""What a service that is ready tells its user."""

from __future__ import annotations

import pytest

from cupola.service.output.told import Told


@pytest.mark.parametrize(
    ("model", "told"),
    [("tiny", "ready on http://x with tiny."), ("", "ready on http://x and loads models when")],
)
def test_it_names_a_model_only_if_one_is_loaded(
    model: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Told().ready("http://x", model)
    out = capsys.readouterr().out
    assert told in out
    assert f'"model": "{model or "MODEL"}"' in out


@pytest.mark.parametrize("needs_key", [True, False])
def test_the_request_to_try_has_a_key_where_one_is_needed(
    needs_key: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Told().ready("https://x", "tiny", needs_key=needs_key)
    assert ("Authorization: Bearer KEY" in capsys.readouterr().out) is needs_key
