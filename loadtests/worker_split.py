"""Two workers of one thread against one worker of two: tokens in a second, and memory.

    python -m loadtests.worker_split --home FOLDER
    python -m loadtests.worker_split --home FOLDER --seconds 3 --rounds 1

Starts both services with the default model; the home must have it. They are asked in turns, for
streams of different prompts, so one is idle while the other works.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from cupola.loadtests.host.own_service import OwnService, borrowed_home
from cupola.loadtests.overhead.connections import post
from cupola.loadtests.overhead.load import closed
from cupola.loadtests.overhead.processes import Processes

MODEL = "smollm2-135m"
CLIENTS = (1, 4, 16)
TOKENS = 64  # of an answer
SPLITS = ((1, 2), (2, 1))  # workers, threads of each
_NAMES = [f"{workers} with {threads} threads" for workers, threads in SPLITS]


def chat(client: int) -> bytes:
    text = f"Tell me a story about {client} friends and the {7 * client} things that they found."
    return post({
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
    })  # fmt: skip


async def tokens_a_second(port: int, clients: int, seconds: float) -> float:
    loads = await asyncio.gather(*(closed(port, chat(n), 1, seconds) for n in range(clients)))
    return sum(load.event_rate for load in loads)


def services(home: Path, logs: Path, stack: ExitStack) -> list[OwnService]:
    """Each has a home of its own, with the same models."""
    started = []
    for number, (workers, threads) in enumerate(SPLITS):
        folder = logs / str(number)
        own = borrowed_home(home, folder)
        settings = {"workers": workers, "threads": threads, "model": MODEL}
        started.append(stack.enter_context(OwnService(own, folder, settings)))
    for service in started:
        service.wait_until_ready()
    return started


def measure(options: argparse.Namespace, logs: Path, stack: ExitStack) -> None:
    both = services(options.home, logs, stack)
    for service in both:
        asyncio.run(tokens_a_second(service.port, max(CLIENTS), options.seconds))  # it warms up
    print(f"| clients | {_NAMES[0]}, tokens/s | {_NAMES[1]}, tokens/s | ratio |\n|---|---|---|---|")
    for clients in CLIENTS:
        rates: list[list[float]] = [[], []]
        for turn in range(options.rounds):
            for place in (0, 1) if turn % 2 == 0 else (1, 0):
                rate = asyncio.run(tokens_a_second(both[place].port, clients, options.seconds))
                rates[place].append(rate)
        ratio = statistics.geometric_mean([b / a for a, b in zip(*rates, strict=True)])
        middle = [f"{statistics.median(each):.0f}" for each in rates]
        print(f"| {clients} | {middle[0]} | {middle[1]} | {ratio:.2f} |", flush=True)
    memory = [_memory(service) for service in both]
    print(f"| memory of the workers, PSS, MB | {memory[0]:.0f} | {memory[1]:.0f} | |")


def _memory(service: OwnService) -> float:
    processes = Processes.of(service.url)
    return sum(processes.memory_mb(name) for name in processes.names if name.startswith("worker"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="a folder with the model")
    parser.add_argument("--seconds", type=float, default=6, help="of each turn")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        measure(options, Path(made), stack)


if __name__ == "__main__":
    main()
