"""Prompts outlive the process: the next one finds them on the disk, with the same bits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cupola.scheduler.protocol.tasks import Work
from cupola.workers.engine.engine import Engine
from cupola.workers.kv.prefix_files import PrefixFiles
from cupola.workers.kv.prefix_memory import BLOCK
from cupola.workers.slots.prefix_cache import PrefixCache
from tests.workers.faulty_session import FaultySession
from tests.workers.tiny import SLOTS, drain, engine_over, greedy, text, words

LENGTH, COUNT = 6 * BLOCK + 5, 6
KNOWN = LENGTH // BLOCK * BLOCK


def engine(folder: Path, blocks: int = 100, model: FaultySession | None = None) -> Engine:
    """As after a start: nothing is in memory."""
    model = model or FaultySession()
    memory = blocks * BLOCK * model.cache.bytes_per_token
    files = PrefixFiles(folder, "key", 10**9)
    return engine_over(model, prefixes=PrefixCache(model.cache, memory, files=files))


def work(number: int, salt: str = "") -> Work:
    asked = greedy(words(LENGTH, number), COUNT, ignore_eos=True, logprobs=2)
    return msgspec.structs.replace(asked, cache_salt=salt)


def ask(backend: Engine, *tasks: Work) -> list[tuple[object, int]]:
    """What is answered, with all log-probabilities, and how many tokens were cached."""
    for number, task in enumerate(tasks):
        backend.add(str(number), task)
    made: dict[str, list[Any]] = {}
    deadline = time.monotonic() + 60
    while (backend.waiting or backend.busy) and time.monotonic() < deadline:
        for name, outputs in drain(backend).items():
            made.setdefault(name, []).extend(outputs)
    found: list[tuple[object, int]] = []
    for number in range(len(tasks)):
        outputs = made[str(number)]
        entries = [entry for output in outputs for entry in output.logprobs]
        found.append(((text(outputs), entries), outputs[-1].usage.cached_tokens))
    return found


def test_what_was_in_slots_and_in_memory_is_there_after_a_restart(tmp_path: Path) -> None:
    tasks = [work(number) for number in range(3 * SLOTS)]
    before = engine(tmp_path)
    first = ask(before, *tasks)
    before.close()
    again = ask(engine(tmp_path), *tasks)
    assert [answer for answer, _ in again] == [answer for answer, _ in first]
    assert min(cached for _, cached in again) >= KNOWN


@pytest.mark.slow
def test_what_leaves_the_memory_is_read_back(tmp_path: Path) -> None:
    tasks = [work(number) for number in range(4 * SLOTS)]
    backend = engine(tmp_path, blocks=2 * (LENGTH // BLOCK))
    first = []
    for task in tasks:
        first += ask(backend, task)
        while backend.warm_up():
            assert not backend.violations()
    again = [ask(backend, task)[0] for task in tasks]
    assert [answer for answer, _ in again] == [answer for answer, _ in first]
    assert min(cached for _, cached in again) >= KNOWN


def test_an_idle_engine_writes_and_a_killed_one_has_written(tmp_path: Path) -> None:
    backend = engine(tmp_path)
    (first,) = ask(backend, work(1))
    while backend.warm_up():
        pass
    assert backend.prefixes is not None
    backend.close()  # only waits for the writer
    assert len([*(tmp_path / "key").iterdir()]) == LENGTH // BLOCK
    (again,) = ask(engine(tmp_path), work(1))
    assert again[0] == first[0]


def test_what_was_forgotten_is_not_written_from_the_place_of_others(tmp_path: Path) -> None:
    backend = engine(tmp_path)
    first = ask(backend, *[work(number) for number in range(2 * SLOTS)])
    backend.rest(long=True)  # before anything was written
    ask(backend, *[work(number) for number in range(50, 50 + 2 * SLOTS)])
    backend.close()
    again = ask(engine(tmp_path), *[work(number) for number in range(2 * SLOTS)])
    assert [answer for answer, _ in again] == [answer for answer, _ in first]


def test_salts_are_apart_on_the_disk(tmp_path: Path) -> None:
    before = engine(tmp_path)
    ask(before, work(1, "mine"))
    before.close()
    backend = engine(tmp_path)
    assert [cached >= KNOWN for _, cached in ask(backend, work(1, "other"), work(1, "mine"))] == [
        False,
        True,
    ]


def test_several_answers_read_the_disk_once(tmp_path: Path) -> None:
    before = engine(tmp_path)
    ((expected, _),) = ask(before, work(1))
    before.close()
    model = FaultySession()
    ((found, cached),) = ask(
        engine(tmp_path, model=model), msgspec.structs.replace(work(1), answers=3)
    )
    assert cached >= KNOWN
    assert model.tokens < 3 * (BLOCK + 2 * COUNT + 12)
    assert found != expected  # three answers


@pytest.mark.parametrize("which", [0, 2, -1])
def test_behind_a_damaged_file_the_prompt_is_read_anew(tmp_path: Path, which: int) -> None:
    before = engine(tmp_path)
    ((expected, _),) = ask(before, work(1))
    before.close()
    oldest_first = sorted((tmp_path / "key").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    damaged = oldest_first[which]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    ((answer, cached),) = ask(engine(tmp_path), work(1))
    assert answer == expected
    assert cached < KNOWN


def test_a_request_that_is_given_up_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    before = engine(tmp_path)
    ask(before, work(1))
    before.close()
    backend = engine(tmp_path)
    backend.add("r", work(1))
    assert len(backend.waiting) == 1
    backend.abort("r")
    assert not backend.waiting and not backend.busy
    assert not backend.violations()


def test_answers_that_may_differ_are_not_written(tmp_path: Path) -> None:
    backend = engine(tmp_path)
    params = msgspec.structs.replace(work(1).sampling, temperature=0.7, max_tokens=4 * BLOCK)
    ask(backend, msgspec.structs.replace(work(1), sampling=params))
    backend.close()
    assert len([*(tmp_path / "key").iterdir()]) == LENGTH // BLOCK
