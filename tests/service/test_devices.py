"""What the service makes of the devices in its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from cupola.cache.catalog import ExecutionProvider
from cupola.cache.home import Home
from cupola.service.composition import check_devices
from cupola.service.settings.settings import Settings
from cupola.service.settings.worker_options import only_worker
from cupola.service.supervisor import GaveUpError
from cupola.service.worker_configs import worker_configs


@pytest.mark.slow
def test_a_provider_that_does_not_start_ends_the_service_with_a_reason(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, workers="cpu,vitisai")
    with pytest.raises(GaveUpError, match="no worker can run VitisAIExecutionProvider"):
        check_devices(settings)
    check_devices(Settings(home=tmp_path, workers="cpu,vitisai", backend="echo"))
    check_devices(Settings(home=tmp_path, workers="2"))


def test_each_worker_has_its_provider_and_its_device(tmp_path: Path) -> None:
    configs = worker_configs(Settings(home=tmp_path, workers="cpu,cuda:1"), [], frozenset())
    assert [(c.name, c.provider, c.engine.device) for c in configs] == [
        ("cpu:0/0", ExecutionProvider.CPU, 0),
        ("cuda:1/0", ExecutionProvider.CUDA, 1),
    ]


@pytest.mark.parametrize(
    ("workers", "shared_weights", "sharing"),
    [
        ("1", "auto", [False]),
        ("2", "auto", [True, True]),
        ("cpu,cuda", "auto", [False, False]),
        ("cpu,cuda,cpu", "auto", [True, False, True]),
        ("2", "no", [False, False]),
        ("cpu,cuda", "yes", [True, False]),
    ],
)
def test_workers_on_cpus_share_weights(
    workers: str, shared_weights: Literal["auto", "yes", "no"], sharing: list[bool], tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, workers=workers, shared_weights=shared_weights)
    configs = worker_configs(settings, [], frozenset())
    assert [config.engine.shares for config in configs] == sharing


def test_only_workers_on_cpus_map_weights(tmp_path: Path) -> None:
    """Also one alone: its own sessions share them."""
    homes = {}
    for shared_weights in ("auto", "yes", "no"):
        settings = Settings(home=tmp_path, workers="cpu,cuda", shared_weights=shared_weights)
        configs = worker_configs(settings, [], frozenset())
        homes[shared_weights] = [config.engine.home for config in configs]
    both = [Home(tmp_path), None]
    assert homes == {"auto": both, "yes": both, "no": [None, None]}


def test_a_cache_of_int8_is_for_cpus_and_maps_weights(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, workers="cpu,cuda", kv_cache="int8", shared_weights="no")
    engines = [config.engine for config in worker_configs(settings, [], frozenset())]
    assert engines[0].int8_cache
    assert [engine.home for engine in engines] == [Home(tmp_path), None]


def test_sizes_of_weights_are_told_in_bytes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, block_weights_mb=3, lane_weights_mb=5)
    (config,) = worker_configs(settings, [], frozenset())
    assert (config.engine.block_bytes, config.engine.lane_bytes) == (3 * 2**20, 5 * 2**20)


def test_the_engine_alone_is_that_of_a_service_with_one_worker(tmp_path: Path) -> None:
    """Whatever workers the settings name."""
    sizes: dict[str, Any] = {
        "kv_memory_mb": 100,
        "prefix_cache_mb": 10,
        "block_weights_mb": 3,
        "threads": 5,
    }
    (config,) = worker_configs(Settings(home=tmp_path, **sizes), [], frozenset())
    for workers in ("cpu", "2", "cpu,cuda"):
        assert only_worker(Settings(home=tmp_path, workers=workers, **sizes)) == config.engine
