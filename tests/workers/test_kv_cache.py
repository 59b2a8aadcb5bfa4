"""Memory of keys and values: it is the system's until it is written, and again when forgotten."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cupola.workers.attention_layers import KeyValueShape
from cupola.workers.kv_cache import KeyValueCache
from cupola.workers.machine import memory_bytes

SLOTS, CAPACITY = 4, 8192
SHAPE = KeyValueShape(layers=2, heads=2, head_size=64, dtype=np.dtype(np.float32))
SLOT_BYTES = SHAPE.bytes_per_token * CAPACITY  # 16 MB


@pytest.fixture
def cache() -> KeyValueCache:
    return KeyValueCache(SHAPE, SLOTS, CAPACITY)


def write(cache: KeyValueCache, slot: int, length: int = CAPACITY) -> None:
    for parts in cache.arrays:
        for number, part in enumerate(parts):
            part[slot, :, :length] = 1 + slot + number


def test_a_copy_is_of_all_layers_and_of_no_more_than_was_asked_for(cache: KeyValueCache):
    write(cache, 0)
    cache.copy(0, 3, 100)
    for parts in cache.arrays:
        for number, part in enumerate(parts):
            assert (part[3, :, :100] == 1 + number).all()
            assert (part[3, :, 100:] == 0).all()
            assert (part[1:3] == 0).all()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere pages stay with the process")
def test_memory_is_taken_by_use_and_given_back(cache: KeyValueCache):
    empty = memory_bytes()
    write(cache, 0, CAPACITY // 8)
    assert memory_bytes() - empty < SLOT_BYTES // 2
    for slot in range(SLOTS):
        write(cache, slot)
    full = memory_bytes()
    assert full - empty > (SLOTS - 1) * SLOT_BYTES
    cache.forget(2)
    assert full - memory_bytes() > SLOT_BYTES // 2
    for parts in cache.arrays:
        for number, part in enumerate(parts):
            assert (part[2] == 0).all()
            assert (part[3] == 4 + number).all()
            assert (part[1] == 2 + number).all()
    for slot in range(SLOTS):
        cache.forget(slot)
    assert full - memory_bytes() > (SLOTS - 1) * SLOT_BYTES
