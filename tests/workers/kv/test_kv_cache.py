"""Memory of keys and values: it is the system's until it is written, and again when forgotten."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.workers.device.machine import memory_bytes
from cupola.workers.graph.attention_layers import KeyValueShape
from cupola.workers.kv import sharing_cache
from cupola.workers.kv.kv_cache import KeyValueCache
from cupola.workers.kv.sharing_cache import SharingCache, key_value_cache
from tests.examples import examples

SLOTS, CAPACITY = 4, 8192
SHAPE = KeyValueShape(layers=2, heads=2, head_size=64, dtype=np.dtype(np.float32))
SLOT_BYTES = SHAPE.bytes_per_token * CAPACITY  # 16 MB

linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are shared on Linux only")
kinds = pytest.mark.parametrize(
    "kind", [KeyValueCache, pytest.param(SharingCache, marks=linux)], ids=["plain", "sharing"]
)


def write(cache: KeyValueCache, slot: int, length: int = CAPACITY) -> None:
    for parts in cache.array:
        for number, part in enumerate(parts):
            part[slot, :, :length] = 1 + slot + number


@kinds
def test_a_copy_is_of_all_layers_and_of_no_more_than_was_asked_for(kind: type[KeyValueCache]):
    cache = kind(SHAPE, SLOTS, CAPACITY)
    write(cache, 0)
    cache.copy(0, 3, 100)
    for parts in cache.array:
        for number, part in enumerate(parts):
            assert (part[3, :, :100] == 1 + number).all()
            assert (part[3, :, 100:] == 0).all()
            assert (part[1:3] == 0).all()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere pages stay with the process")
@kinds
def test_memory_is_taken_by_use_and_given_back(kind: type[KeyValueCache]):
    cache = kind(SHAPE, SLOTS, CAPACITY)
    empty = memory_bytes()
    write(cache, 0, CAPACITY // 8)
    assert memory_bytes() - empty < SLOT_BYTES // 2
    for slot in range(SLOTS):
        write(cache, slot)
    full = memory_bytes()
    assert full - empty > (SLOTS - 1) * SLOT_BYTES
    cache.forget(2)
    assert full - memory_bytes() > SLOT_BYTES // 2
    for parts in cache.array:
        for number, part in enumerate(parts):
            assert (part[2] == 0).all()
            assert (part[3] == 4 + number).all()
            assert (part[1] == 2 + number).all()
    for slot in range(SLOTS):
        cache.forget(slot)
    assert full - memory_bytes() > (SLOTS - 1) * SLOT_BYTES


def committed_bytes(cache: SharingCache) -> int:
    return os.fstat(cache.memory.file).st_blocks * 512


@linux
def test_rows_that_begin_alike_hold_the_beginning_once():
    cache = SharingCache(SHAPE, SLOTS, CAPACITY)
    write(cache, 0, 1000)
    alone = committed_bytes(cache)
    for slot in (1, 2, 3):
        cache.copy(0, slot, 1000)
    shared, copied = divmod(1000, cache.page)
    assert shared * cache.page >= 990
    assert committed_bytes(cache) <= alone + 3 * SHAPE.bytes_per_token * cache.page
    assert cache.positions(dict.fromkeys(range(SLOTS), 1000)) == 1000 + 3 * copied
    cache.forget(0)
    assert cache.positions(dict.fromkeys((1, 2, 3), 1000)) == 1000 + 2 * copied
    for slot in (1, 2, 3):
        assert (cache.array[1, 0, slot, :, :1000] == 1).all()
        cache.forget(slot)
    assert committed_bytes(cache) == 0


SMALL = KeyValueShape(layers=1, heads=2, head_size=64, dtype=np.dtype(np.float32))
LENGTH = 100

steps = st.tuples(
    st.sampled_from(["write", "copy", "forget"]),
    st.integers(0, SLOTS - 1),
    st.integers(0, SLOTS - 1),
    st.integers(0, LENGTH),
)


@linux
@settings(max_examples=examples(200), deadline=None)
@given(st.lists(steps, max_size=25), st.sampled_from([1, 40]))
def test_rows_that_share_pages_hold_what_rows_of_their_own_would(todo, worth):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing_cache, "WORTH_SHARING", worth)
        check_rows(todo)


def check_rows(todo) -> None:
    cache = SharingCache(SMALL, SLOTS, LENGTH)
    rows = np.zeros((SLOTS, LENGTH))
    lengths = [0] * SLOTS
    for stamp, (what, row, other, count) in enumerate(todo, 1):
        if what == "forget":
            cache.forget(row)
            lengths[row] = 0
        elif what == "copy" and row != other:
            length = min(count, lengths[row])
            cache.copy(row, other, length)
            rows[other, :length], lengths[other] = rows[row, :length], length
        else:
            start = min(count, lengths[row])
            cache.claim(row, start)
            cache.array[0, 1, row, :, start:LENGTH] = rows[row, start:] = stamp
            lengths[row] = LENGTH
        for each, length in enumerate(lengths):
            assert (cache.array[0, 1, each, :, :length] == rows[each, :length, None]).all()


@linux
def test_too_many_mappings_or_a_system_that_refuses_make_plain_rows(monkeypatch):
    assert isinstance(key_value_cache(SMALL, 4, LENGTH), SharingCache)
    many = replace(SMALL, layers=2000)
    assert not isinstance(key_value_cache(many, 4, LENGTH), SharingCache)

    def refuse(name: str) -> int:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert not isinstance(key_value_cache(SMALL, 4, LENGTH), SharingCache)


@linux
def test_rows_that_would_take_too_many_mappings_are_copied(monkeypatch):
    cache = SharingCache(SMALL, 5, 4096)
    heads = 2 * SMALL.layers * SMALL.heads
    monkeypatch.setattr(sharing_cache, "MOST_MAPPINGS", heads * (2 * 3 + 1))
    cache.array[:, :, 0, :, :1000] = 7
    for row in (1, 2, 3, 4):
        cache.copy(0, row, 1000)
        assert (cache.array[:, :, row, :, :1000] == 7).all()
    assert [cache.borrows(row, 0) for row in (1, 2, 3, 4)] == [True, True, False, False]
