"""``cupola workers`` waits for a change that has begun, and not for one that never begins."""

from __future__ import annotations

from typing import Any

import pytest

from cupola.client.commands.service.workers_command import BEGIN_SECONDS, Beginning
from cupola.client.errors import ClientError

LATE = BEGIN_SECONDS + 1


def worker(state: str = "serving", pid: int = 7) -> dict[str, Any]:
    return {"state": state, "pid": pid}


SERVING = {"cpu:0/0": worker()}


def test_what_never_begins_is_told_with_what_to_do() -> None:
    begin = Beginning(["cpu:0/1"], SERVING, 0.0)
    begin.look(SERVING, LATE - 2)
    with pytest.raises(ClientError, match="cpu:0/1") as error:
        begin.look(SERVING, LATE)
    assert "cupola service restart" in error.value.hint


@pytest.mark.parametrize(
    "found",
    [
        {"cpu:0/0": worker("leaving")},
        {"cpu:0/0": worker(pid=8)},
        {"cpu:0/0": worker("starting", 0)},
        {},
    ],
)
def test_what_has_begun_may_take_as_long_as_it_takes(found: dict[str, Any]) -> None:
    begin = Beginning(["cpu:0/0"], SERVING, 0.0)
    begin.look(found, 1.0)
    begin.look(SERVING, 100 * LATE)


def test_a_new_worker_has_begun_when_it_is_listed() -> None:
    begin = Beginning(["cpu:0/1"], SERVING, 0.0)
    begin.look(SERVING | {"cpu:0/1": worker("starting", 0)}, LATE)


def test_what_others_do_is_no_beginning() -> None:
    begin = Beginning(["cpu:0/1"], SERVING, 0.0)
    with pytest.raises(ClientError):
        begin.look({"cpu:0/0": worker("leaving")}, LATE)
