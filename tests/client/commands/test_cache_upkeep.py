"""Room on the disk: what models take, which go, what is damaged, and removal while in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.cache.system.digests import write_model_digests
from tests.client.command_line import Cli

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(home: Home, model: str) -> Path:
    folder = ModelCache(home).find(model).path
    write_model_digests(folder)
    entry = home.prepacked_folder(folder) / "entry"
    entry.mkdir(parents=True)
    (entry / "weights.bin").write_bytes(bytes(3_000_000))
    return folder


def test_list_and_location_count_what_was_derived(
    cupola: Cli, model: str, folder: Path, home: Home
) -> None:
    [record] = json.loads(cupola.ok("cache", "list", "-o", "json"))["models"]
    assert record["derivedBytes"] == 3_000_000 and record["sizeBytes"] < 10_000
    assert cupola.ok("cache", "location") == f"💾 Cache directory path: {home.models}\n"
    record = json.loads(cupola.ok("cache", "location", "-o", "json"))
    assert record["derivedBytes"] == 3_000_000 and record["freeBytes"] > 0


def test_verify(cupola: Cli, model: str, folder: Path, home: Home) -> None:
    assert cupola.ok("cache", "verify") == f"🟢 {model}: as it was installed\n"
    (folder / "model.onnx").write_bytes(b"not read HERE")
    (home.models / "x" / "y").mkdir(parents=True)
    for name in ("genai_config.json", "inference_model.json"):
        (home.models / "x" / "y" / name).write_text("{")
    refused = cupola("cache", "verify")
    assert refused.returncode == 1
    assert f"🔴 {model}: model.onnx is damaged" in refused.stdout
    assert "🔴 y: " in refused.stdout
    assert "--force" in refused.stderr
    told = cupola("cache", "verify", model, "-o", "json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["models"][0]["health"] == "damaged"


def test_prune_shows_its_plan_before_it_is_done(cupola: Cli, model: str, folder: Path) -> None:
    assert cupola.ok("cache", "prune", "--unused-for", "1") == "Nothing is to be removed.\n"
    shown = cupola.ok("cache", "prune", "--to", "0", "--dry-run")
    assert shown.startswith("Would be removed:\n") and f"{model}: 0 MB and 3 MB derived" in shown
    asked = cupola.refused("cache", "prune", "--to", "0")
    assert f"{model}: 0 MB and 3 MB derived" in asked and "--yes" in asked
    assert folder.exists()
    done = json.loads(cupola.ok("cache", "prune", "--to", "0", "--yes", "-o", "json"))
    assert done["removed"] == [model] and done["bytes"] > 3_000_000
    assert not folder.exists()


def test_a_model_in_memory_is_removed_only_by_force(
    echoing: Cli, model: str, folder: Path, home: Home
) -> None:
    echoing.ok("model", "load", model)
    for command in (("model", "remove", model), ("cache", "rm", model), ("cache", "clear")):
        refused = echoing.refused(*command, "--yes")
        assert f"In memory now: {model}" in refused and f"cupola model unload {model}" in refused
    assert echoing.ok("cache", "prune", "--to", "0", "--yes") == "Nothing is to be removed.\n"
    assert folder.exists()
    assert "Deleted model" in echoing.ok("model", "remove", model, "--force", "--yes")
    assert echoing.ok("service", "ps") == "No models are currently loaded in the service\n"
    assert list(home.prepacked.rglob("*.bin")) == []
    chat = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    answer = echoing.python(
        "import httpx2, json; from cupola.client import home; "
        "from cupola.client.running_service import find; "
        f"r = httpx2.post(find(home.current()).url + '/v1/chat/completions', json={chat!r}); "
        "print(r.status_code)"
    )
    assert answer == "404\n"  # at once, though the name was in use


def test_models_move_to_another_folder_and_back(
    cupola: Cli, model: str, home: Home, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    cupola.ok("cache", "cd", str(other), "--move")
    assert model in cupola.ok("cache", "list")
    assert ModelCache(home).find(model).path.resolve().is_relative_to(other)
    cupola.ok("cache", "cd", str(home.models), "--move")
    assert not home.models.is_symlink()
    assert ModelCache(home).find(model).path.is_relative_to(home.models)
    assert not list(other.rglob("*.onnx"))


def test_models_of_other_programs_are_taken(cupola: Cli, home: Home, tmp_path: Path) -> None:
    cupola = cupola.having(HOME=str(tmp_path), HF_HUB_CACHE=str(tmp_path / "none"))
    assert cupola.ok("cache", "adopt") == "There are no other models.\n"
    app = tmp_path / ".app" / "cache" / "models" / "Maker" / "phi-1"
    app.mkdir(parents=True)
    (app / "genai_config.json").write_text('{"model": {"type": "phi3", "context_length": 64}}')
    (app / "inference_model.json").write_text('{"Name": "phi:1"}')
    assert f"link: phi:1, {app}" in cupola.refused("cache", "adopt")
    assert "link: phi:1" in cupola.ok("cache", "adopt", "--yes")
    assert ModelCache(home).find("phi").variant.id == "phi:1"
