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
