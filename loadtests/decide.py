"""Decisions per second: 20 questions about one state, against llama-server's single tokens.

Cupola gets the 20 questions in one request. llama-server gets 20 requests for one token each with
its log-probabilities, one after the other, so that its slot has the state cached after the first.
Every round has new states. The contestants take turns; medians of the rounds are printed.

    python loadtests/decide.py --cupola http://127.0.0.1:5273 --llama http://127.0.0.1:5411
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import httpx2

QUESTIONS = 20
STATE_WORDS = 780  # about 1,000 tokens
WORDS = (
    "parcel street winter garden customer letter machine colour window station teacher market "
    "river paper bridge doctor kitchen summer forest engine picture number village morning"
).split()
Ask = Callable[[httpx2.Client, str, str], None]


def state_of(seed: str) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=STATE_WORDS))


def statements() -> list[str]:
    return [f"Is it true that the text mentions a {word}?" for word in WORDS[:QUESTIONS]]


def ask_cupola(http: httpx2.Client, model: str, state: str) -> None:
    questions = [{"type": "predicate", "instructions": text} for text in statements()]
    body = {"model": model, "input": state, "questions": questions}
    answers = http.post("/v1/decisions", json=body).raise_for_status().json()["answers"]
    assert len(answers) == QUESTIONS


def ask_llama(http: httpx2.Client, model: str, state: str) -> None:
    for text in statements():
        asked = f"{state}\n\nQuestion: {text}\nOptions: Yes, No\nAnswer with one option."
        body = {
            "model": model,
            "messages": [{"role": "user", "content": asked}],
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 20,
            "cache_prompt": True,
        }
        answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
        assert answer["choices"][0]["logprobs"]["content"]


def per_second(url: str, ask: Ask, model: str, clients: int, number: str) -> float:
    """Decisions per second of so many clients, each with a state of its own."""
    with httpx2.Client(base_url=url, timeout=600) as http, ThreadPoolExecutor(clients) as threads:
        began = time.perf_counter()
        states = [state_of(f"{number} {client}") for client in range(clients)]
        list(threads.map(lambda state: ask(http, model, state), states))
        return clients * QUESTIONS / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cupola", required=True)
    parser.add_argument("--llama", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    contestants: dict[str, tuple[str, Ask]] = {
        "cupola": (given.cupola, ask_cupola),
        "llama-server": (given.llama, ask_llama),
    }
    for name, (url, ask) in contestants.items():
        per_second(url, ask, given.model, 1, f"warm-up of {name}")
    print("| clients | cupola | llama-server | ratio |\n| --- | --- | --- | --- |")
    for clients in map(int, given.clients.split(",")):
        found: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(given.rounds):
            for name, (url, ask) in contestants.items():
                found[name].append(per_second(url, ask, given.model, clients, f"{name} {number}"))
        ours, theirs = median(found["cupola"]), median(found["llama-server"])
        print(f"| {clients} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
