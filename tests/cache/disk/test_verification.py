"""Damage is found, by name, and costs nothing else."""

from __future__ import annotations

from pathlib import Path

from cupola.cache.disk.verification import Health, verify
from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from tests.cache.disk.made_models import made


def test_each_model_has_a_verdict(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made(home, "whole", digests=True)
    made(home, "foreign")
    changed = made(home, "changed", digests=True) / "model.onnx"
    changed.write_bytes(b"\1" + changed.read_bytes()[1:])
    (made(home, "torn", digests=True) / "model.onnx").unlink()
    found = {verdict.name: verdict for verdict in verify(ModelCache(home).scan())}
    assert {name: verdict.health for name, verdict in found.items()} == {
        "whole:1": Health.WHOLE,
        "foreign:1": Health.UNKNOWN,
        "changed:1": Health.DAMAGED,
        "torn:1": Health.DAMAGED,
    }
    assert found["changed:1"].reason.startswith("model.onnx is damaged")
    assert found["torn:1"].reason == "model.onnx is missing"


def test_a_survey_names_what_cannot_be_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made(home, "good")
    broken = made(home, "broken")
    (broken / "inference_model.json").write_text("{")
    models, damaged = ModelCache(home).survey()
    assert [model.variant.id for model in models] == ["good:1"]
    assert [each.path for each in damaged] == [broken]
    assert "inference_model.json" in damaged[0].reason
