"""Registered models travel as lines from gateway to gateway."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cupola.gateway.core.remote_models import RemoteModel, RemoteModels

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
MODELS = st.builds(RemoteModel, TEXT, TEXT, TEXT, TEXT, st.integers(0, 2**40))


@given(st.lists(MODELS, max_size=8))
def test_who_reads_the_lines_knows_the_same_models(models: list[RemoteModel]) -> None:
    teller, reader = RemoteModels(), RemoteModels()
    for model in models:
        teller.put(model)
        assert "\n" not in model.line
        reader.update(model.line)
    assert reader.all() == teller.all()


@given(st.lists(MODELS, max_size=8))
def test_the_last_line_of_each_name_is_enough(models: list[RemoteModel]) -> None:
    """What the supervisor keeps for a new gateway. Nothing is left of a model that was removed."""
    teller, late = RemoteModels(), RemoteModels()
    kept: dict[str, str] = {}
    for model in models:
        teller.put(model)
        _, name, *value = model.line.split(" ", 2)
        kept.pop(name, None)
        if value:
            kept[name] = model.line
    for line in kept.values():
        late.update(line)
    assert {model.name.casefold(): model for model in late.all()} == {
        model.name.casefold(): model for model in teller.all()
    }


@given(TEXT.filter(lambda line: not line.startswith("remote ")))
def test_other_lines_change_nothing(line: str) -> None:
    models = RemoteModels()
    models.put(RemoteModel("m", base="http://localhost"))
    models.update(line)
    assert len(models) == 1
