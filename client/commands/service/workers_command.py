"""``cupola workers``: the worker processes of the running service, and how they are changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from cupola.client import home
from cupola.client.errors import ClientError
from cupola.client.terminal.output import (
    Column,
    Form,
    Output,
    print_json,
    print_table,
    report_success,
)

_LOOK_SECONDS = 0.3  # between two looks at workers that change
BEGIN_SECONDS = 15.0  # in which a change begins; how long it then takes depends on the answers

Workers = dict[str, Any]  # by name
Name = Annotated[str, typer.Argument(metavar="NAME", help="A worker, such as cpu:0/1.")]
Now = Annotated[
    bool, typer.Option("--now", help="Do not let it finish: what it runs ends with an error.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]


def list_workers(output: Output = Form.TEXT) -> None:
    """List the workers of the running service.

    Example: cupola workers list
    """
    workers = _workers()
    if output is Form.JSON:
        print_json({"workers": list(workers.values())})
        return
    titles = ["Worker", "State", "PID", "Running", "Slots", "Memory", "Models"]
    rows = [
        [
            worker["name"],
            worker["state"],
            str(worker["pid"] or "-"),
            str(worker["running"]),
            str(worker["slots"]),
            f"{worker['memory_bytes'] / 1024**2:,.0f} MB",
            ", ".join(worker["models"]) or "-",
        ]
        for worker in workers.values()
    ]
    print_table([Column(title) for title in titles], rows)


def add(
    device: Annotated[
        str, typer.Argument(metavar="[DEVICE]", help="Such as cpu:0; else the first worker's.")
    ] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 1,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Of each worker; 0: as the others have.")
    ] = 0,
    wait: Wait = True,
    output: Output = Form.TEXT,
) -> None:
    """Start further workers. They stay until the service ends.

    Example: cupola workers add --count 2 --threads 1
    """
    body = {"device": device, "count": count, "threads": threads}
    before = _workers()
    names = list(_ask("/admin/workers", body)["names"])
    if wait:
        _wait(names, before, lambda found: all(_is(found, name, "serving") for name in names))
    report_success(f"{'Added' if wait else 'Adding'} {', '.join(names)}", output, workers=names)


def drain(worker: Name, now: Now = False, wait: Wait = True, output: Output = Form.TEXT) -> None:
    """Stop a worker when it has finished. It gets no further work, and nothing is lost.

    Its models are loaded on other workers. 'cupola workers restart' starts it again.

    Example: cupola workers drain cpu:0/1
    """
    before = _workers()
    _leave("drain", worker, now)
    if wait:
        _wait([worker], before, lambda found: _is(found, worker, "stopped"))
    report_success(f"{'Stopped' if wait else 'Stopping'} {worker}", output, workers=[worker])


def restart(worker: Name, now: Now = False, wait: Wait = True, output: Output = Form.TEXT) -> None:
    """Start a worker anew when it has finished, or start one that was drained.

    Example: cupola workers restart cpu:0/0
    """
    before = _workers()
    pid = before.get(worker, {}).get("pid")
    _leave("restart", worker, now)
    if wait:
        _wait(
            [worker],
            before,
            lambda found: _is(found, worker, "serving") and found[worker]["pid"] != pid,
        )
    report_success(f"{'Restarted' if wait else 'Restarting'} {worker}", output, workers=[worker])


def remove(worker: Name, now: Now = False, wait: Wait = True, output: Output = Form.TEXT) -> None:
    """Remove a worker when it has finished, until the service is started again.

    Example: cupola workers remove cpu:0/1
    """
    before = _workers()
    _leave("remove", worker, now)
    if wait:
        _wait([worker], before, lambda found: worker not in found)
    report_success(f"{'Removed' if wait else 'Removing'} {worker}", output, workers=[worker])


def _leave(verb: str, name: str, now: bool) -> None:
    _ask(f"/admin/workers/{verb}", {"name": name, "now": now})


def _is(found: Workers, name: str, state: str) -> bool:
    return name in found and found[name]["state"] == state


def _wait(names: Sequence[str], before: Workers, done: Callable[[Workers], bool]) -> None:
    """Look again and again until it is so. Ctrl+C ends the waiting, not what is being done."""
    begin = Beginning(names, before, time.monotonic())
    while not done(found := _workers()):
        begin.look(found, time.monotonic())
        time.sleep(_LOOK_SECONDS)


class Beginning:
    """Whether a change of workers has begun. The supervisor makes it, and it may hang. Pure.

    ``names``: of the workers that change. ``before``: all workers as they were.
    """

    def __init__(self, names: Sequence[str], before: Workers, now: float) -> None:
        self._names = names
        self._before = self._of(before)
        self._asked_at = now
        self._begun = False

    def look(self, found: Workers, now: float) -> None:
        """Raises ClientError when it should have begun by ``now``."""
        self._begun = self._begun or self._of(found) != self._before
        if not self._begun and now - self._asked_at > BEGIN_SECONDS:
            raise ClientError(
                f"The service has not begun to change {', '.join(self._names)}"
                f" in {BEGIN_SECONDS:.0f} s: its supervisor does not act",
                "If the process is stopped, continue it with: kill -CONT PID; "
                "'cupola service status' tells its PID. Else: cupola service restart",
            )

    def _of(self, workers: Workers) -> list[tuple[str, int] | None]:
        """State and process of each that changes."""
        known = [workers.get(name) for name in self._names]
        return [(each["state"], each["pid"]) if each else None for each in known]


def _workers() -> Workers:
    return {worker["name"]: worker for worker in _ask("/admin/workers")["workers"]}


def _ask(path: str, body: object = None) -> Any:
    from cupola.client.running_service import find
    from cupola.client.sdk.connection import Connection

    service = find(home.current())
    if service is None:
        raise ClientError("No service is running", "Start one with: cupola service start")
    connection = Connection(service.url, 10.0)
    return connection.get(path) if body is None else connection.post(path, body)
