"""What Cupola adds to a bare server: latency, requests and chunks a second, memory.

    python -m loadtests.overhead --home FOLDER
    python -m loadtests.overhead --home FOLDER --seconds 2 --rounds 2

Starts a service with the echo backend, which runs no model, and beside it the least that hypercorn
and Starlette can do. Both are asked the same, in turns. Latency is that of one client, beside half
of the requests a second that the service has just answered; they come from a process that gives way
to all others. The home must have the model, for its folder: nothing is loaded of it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cupola.loadtests.host.own_service import OwnService, free_port
from cupola.loadtests.overhead import bare_server, held, load
from cupola.loadtests.overhead.background_load import background_load
from cupola.loadtests.overhead.connections import post
from cupola.loadtests.overhead.load import Load
from cupola.loadtests.overhead.processes import Processes

MODEL = "smollm2-135m"
TEXT = "Hello there, how are you today?"
CLIENTS = 16
CHUNKS = 64  # of a stream
STREAMS = 1000
QUEUED = 10_000


def rounds_of(
    count: int, one: Callable[[int, int], Coroutine[Any, Any, Load]], ports: Sequence[int]
) -> list[list[Load]]:
    """For each port its loads. The ports take turns: A B, B A, A B. ``one``: of port and round."""
    loads: list[list[Load]] = [[] for _ in ports]
    for number in range(count):
        for place in sorted(range(len(ports)), reverse=bool(number % 2)):
            loads[place].append(asyncio.run(one(ports[place], number)))
    return loads


def percentile(loads: Sequence[Load], share: float) -> float:
    """Of all latencies, in milliseconds."""
    times = sorted(time for each in loads for time in each.latencies)
    return 1000 * times[min(len(times) - 1, int(share * len(times)))]


def row(name: str, bare: str, ours: str, result: str, wanted: str) -> None:
    print(f"| {name} | {bare} | {ours} | {result} | {wanted} |", flush=True)


def compare(name: str, bare: Sequence[float], ours: Sequence[float]) -> None:
    """A row about rates: their medians, and the geometric mean of the rounds' ratios."""
    ratio = statistics.geometric_mean([b / a for a, b in zip(bare, ours, strict=True)])
    middle = [f"{statistics.median(rates):,.0f}" for rates in (bare, ours)]
    row(name, middle[0], middle[1], f"{ratio:.0%}", "50% or more")


def measure(options: argparse.Namespace, logs: Path, stack: ExitStack) -> None:
    settings = {"backend": "echo", "model": MODEL}
    service = stack.enter_context(OwnService(options.home, logs, settings))
    bare_port = free_port()
    bare = subprocess.Popen([sys.executable, bare_server.__file__, str(bare_port)])
    stack.callback(bare.wait)
    stack.callback(bare.terminate)
    service.wait_until_ready()
    processes = Processes.of(service.url, bare=bare.pid)
    ports = (bare_port, service.port)
    chat = {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1}
    request = post(chat)
    stream = post(chat | {"max_tokens": CHUNKS, "stream": True})

    def closed(content: bytes, clients: int) -> Callable[[int, int], Coroutine[Any, Any, Load]]:
        return lambda port, _: load.closed(port, content, clients, options.seconds)

    print("| figure | bare | Cupola | | wanted |\n|---|---|---|---|---|")
    first = rounds_of(1, closed(request, CLIENTS), ports)  # both have served something then
    if not all(loads[0].latencies for loads in first):
        sys.exit(f"No answer was 200. Is {MODEL} in {options.home}? cupola model download {MODEL}")
    used = processes.seconds()
    posts = rounds_of(options.rounds, closed(request, CLIENTS), ports)
    used = {name: seconds - used[name] for name, seconds in processes.seconds().items()}
    answered = [sum(len(each.latencies) for each in loads) for loads in posts]
    compare(f"POSTs a second, {CLIENTS} clients", *([x.rate for x in y] for y in posts))
    for clients in (1, CLIENTS):
        streams = rounds_of(options.rounds, closed(stream, clients), ports)
        rates = ([each.event_rate for each in loads] for loads in streams)
        compare(f"SSE chunks a second, {clients} streams", *rates)
    half = statistics.median(each.rate for each in posts[1]) / 2

    async def probed(port: int, number: int) -> Load:
        with background_load(port, request, half, number):
            return await load.probed(port, request, options.seconds, number)

    probes = rounds_of(options.rounds, probed, ports)
    for share, limit in ((0.5, 2), (0.99, 10)):
        base, whole = (percentile(loads, share) for loads in probes)
        name = f"one client's latency p{share * 100:.0f} beside {half:.0f} requests/s, ms"
        row(name, f"{base:.2f}", f"{whole:.2f}", f"{whole - base:+.2f}", f"+{limit} or less")
    spent = f"{used.pop('bare') / answered[0] * 1e6:.0f}"
    for name, seconds in used.items():
        each = f"{seconds / answered[1] * 1e6:.0f}"
        row(f"processor time of a POST: {name}, µs", spent, each, "", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="a folder that no service uses")
    parser.add_argument("--seconds", type=float, default=4, help="of each turn of each figure")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        logs = Path(made)
        with ExitStack() as stack:
            measure(options, logs, stack)
        before, after = held.idle_streams(options.home, logs, MODEL, STREAMS)
        row(f"gateway with {STREAMS} idle streams, MB", "", f"{after:.0f}", f"{before:.0f} without",
            "below 300")  # fmt: skip
        before, after, waiting = held.queued_requests(options.home, logs, MODEL, QUEUED)
        row(f"scheduler with {waiting} queued requests, MB", "", f"{after:.0f}",
            f"{before:.0f} without", "below 200")  # fmt: skip


if __name__ == "__main__":
    main()
