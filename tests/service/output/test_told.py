"""What a service that is ready tells its user."""

from __future__ import annotations

import json

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


def test_it_is_not_ready_with_a_model_whose_load_failed(capsys: pytest.CaptureFixture[str]) -> None:
    Told().ready("http://x", "tiny", is_loaded=False)
    out = capsys.readouterr().out
    assert "ready on http://x without tiny, which could not be loaded: the log says why" in out
    assert "curl" not in out
    Told(as_json=True).ready("http://x", "tiny", is_loaded=False)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["state"], facts["model"], facts["notLoaded"]) == ("ready", "", "tiny")


@pytest.mark.parametrize("needs_key", [True, False])
def test_the_request_to_try_has_a_key_where_one_is_needed(
    needs_key: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Told().ready("https://x", "tiny", needs_key=needs_key)
    assert ("Authorization: Bearer KEY" in capsys.readouterr().out) is needs_key
