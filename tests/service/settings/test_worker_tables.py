"""``[[workers]]``: workers as data, their share of the machine, and what is told of errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.catalog_settings import read_catalog_settings
from cupola.cache.home import Home
from cupola.scheduler.protocol.tasks import LocalModel
from cupola.service.settings.settings import Settings, SettingsError
from cupola.service.settings.sources import load
from cupola.service.settings.worker_tables import WorkerTable, bytes_of, cpus_of, cpus_text
from cupola.service.worker_configs import WorkersError, divided, one_more, worker_configs

ALL = """
threads = 7

[[workers]]
device = "cpu"
count = 2
threads = 1
cpus = "0-3"
memory = "2GiB"
max_slots = 4

[[workers]]
models = ["all-minilm-l6-v2"]
provider_options = { use_arena = true, limit = 3 }
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUPOLA_HOME", str(tmp_path))
    return tmp_path


def read(home: Path, text: str) -> Settings:
    (home / "cupola.toml").write_text(text)
    return load().settings


def test_tables_say_what_each_worker_has(home: Path) -> None:
    start = [LocalModel("m:1", "/models/m", ExecutionProvider.CPU)]
    first, second, third = worker_configs(read(home, ALL), start, frozenset(), {*range(4)})
    assert [first.name, second.name, third.name] == ["cpu:0/0", "cpu:0/1", "cpu:0/2"]
    assert [w.cpus for w in (first, second, third)] == [(0, 1), (2, 3), ()]
    assert [w.engine.threads for w in (first, second, third)] == [1, 1, 5]
    assert [w.engine.slots for w in (first, second, third)] == [4, 4, 0]
    assert (first.memory_bytes, first.engine.kv_bytes) == (2 * 2**30, 2**30)
    assert (third.memory_bytes, first.only, first.preload) == (0, frozenset(), tuple(start))
    assert third.engine.provider_options == (("limit", "3"), ("use_arena", "true"))
    assert "all-minilm-l6-v2-generic-cpu:1" in third.only
    assert third.preload == (), "it is not on this disk"


@pytest.mark.parametrize("names", [["nope"], ["all-minilm-l6-v2", "nope"], [""]])
def test_a_model_that_nobody_knows_is_refused(home: Path, names: list[str]) -> None:
    """The worker would run every model, which the table forbids."""
    text = f"[[workers]]\n[[workers]]\nmodels = {names}"
    with pytest.raises(WorkersError, match=rf"table 2: models: No model is called '{names[-1]}'"):
        worker_configs(read(home, text), [], frozenset())


@pytest.mark.parametrize("cpus", ["0-999", "4", "2,5"])
def test_processors_that_are_not_there_are_refused(home: Path, cpus: str) -> None:
    settings = read(home, f"[[workers]]\ncpus = '{cpus}'")
    with pytest.raises(WorkersError, match=rf"table 1: cpus = '{cpus}': .* processors 0-3,6$"):
        worker_configs(settings, [], frozenset(), {0, 1, 2, 3, 6})
    worker_configs(settings, [], frozenset(), set())  # a system that does not say


def test_flags_and_variables_replace_the_tables(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(home, ALL)
    assert load({"workers": "2"}).settings.worker_tables == (WorkerTable(count=2),)
    monkeypatch.setenv("CUPOLA_WORKERS", "cpu,cuda:1")
    devices = [table.device for table in load().settings.worker_tables]
    assert devices == ["cpu:0", "cuda:1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[workers]]\n[[workers]]\nthreads = 'x'", "table 2 ({}): threads = 'x' is not allowed"),
        ("[[workers]]\ndevice = 'gpu:0'", "it must be a device such as 'cpu:0' or 'cuda:1'"),
        ("[[workers]]\ncount = 0", "count = 0 is not allowed: it must be a whole number from 1"),
        ("[[workers]]\ncount = true", "count = True is not allowed"),
        ("[[workers]]\ncount = '2'", "count = '2' is not allowed"),
        ("[[workers]]\nprovider_options = {a = {b = 1}}", "a table of texts, numbers and truth"),
        ("[[workers]]\nprovider_options = {a = [1]}", "a table of texts, numbers and truth"),
        ("[workers]\ncount = 2", "tables [[workers]]"),
        ("[[workers]]\ncpus = '3-1'", "it must be a list of processors such as '0-3,6'"),
        ("[[workers]]\nmemory = 'much'", "it must be a size such as '6GiB'"),
        ("[[workers]]\nmodels = 'one'", "it must be a list of models' names"),
        ("[[workers]]\nthread = 1", "table 1 ({}): thread is not a field; there are device, count"),
        ("workers = [{device = 'cpu'}, 3]", "table 2 ({}): it is not allowed: it must be a table"),
        ("[[workers]]\ncount = 40\n[[workers]]\ncount = 40", "may have 64"),
    ],
)
def test_an_error_names_the_table_and_the_field(home: Path, text: str, told: str) -> None:
    (home / "cupola.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        load()
    assert told.format(home / "cupola.toml") in str(error.value)


@pytest.mark.parametrize(
    ("size", "count"),
    [("", 0), ("5", 5), ("1KB", 1000), ("1.5 GiB", 3 * 2**29), ("6gib", 6 * 2**30), ("2TB", 2e12)],
)
def test_sizes(size: str, count: int) -> None:
    assert bytes_of(size) == count


@pytest.mark.parametrize(
    ("text", "cpus"), [("", ()), ("2", (2,)), ("0-2, 5,1", (0, 1, 2, 5)), ("7-7", (7,))]
)
def test_processors(text: str, cpus: tuple[int, ...]) -> None:
    assert cpus_of(text) == cpus


@given(cpus=st.sets(st.integers(0, 99)))
def test_processors_are_written_as_they_are_read(cpus: set[int]) -> None:
    assert set(cpus_of(cpus_text(cpus))) == cpus


@given(cpus=st.sets(st.integers(0, 64)), workers=st.integers(1, 9))
def test_processors_are_divided_fairly(cpus: set[int], workers: int) -> None:
    whole = tuple(sorted(cpus))
    parts = divided(whole, workers)
    assert len(parts) == workers
    if len(whole) < workers:
        assert parts == [whole] * workers
    else:
        assert sorted(cpu for part in parts for cpu in part) == list(whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_more_is_like_the_first_of_its_device(home: Path) -> None:
    configs = worker_configs(read(home, ALL), [], frozenset(), {*range(4)})
    more = one_more(configs, "cpu:0/3")
    assert (more.name, more.engine.threads, more.memory_bytes) == ("cpu:0/3", 1, 2 * 2**30)
    assert more.engine.kv_bytes <= configs[0].engine.kv_bytes
    assert one_more(configs, "cpu:0/3", threads=9).engine.threads == 9


def test_the_models_of_the_catalog_are_chosen_by_the_devices_of_the_tables(home: Path) -> None:
    read(home, "[[workers]]\ndevice = 'cuda:0'\n[[workers]]\n")
    found = read_catalog_settings(Home(home), {})
    assert found.providers == {ExecutionProvider.CUDA, ExecutionProvider.CPU}


@pytest.mark.parametrize(("memory", "prefix", "blocks"), [("1GiB", 256, 128), ("8GiB", 1024, 1024)])
def test_memory_that_no_setting_names_is_a_share(
    memory: str, prefix: int, blocks: int, home: Path
) -> None:
    settings = read(home, f"[[workers]]\nmemory = '{memory}'")
    (config,) = worker_configs(settings, [], frozenset())
    assert (config.engine.prefix_bytes, config.engine.block_bytes) == (
        prefix * 2**20,
        blocks * 2**20,
    )


def test_whether_workers_prepare_for_requests_is_a_setting(home: Path) -> None:
    [as_ever] = worker_configs(read(home, ""), [], frozenset(), {0})
    [told] = worker_configs(read(home, 'warm_up = "no"'), [], frozenset(), {0})
    assert as_ever.engine.warm_up and not told.engine.warm_up
