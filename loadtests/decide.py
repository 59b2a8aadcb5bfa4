"""Decisions, ranking, and chat beside a flood of decisions, against llama-server.

    python loadtests/decide.py --cupola http://127.0.0.1:5273 --llama http://127.0.0.1:5411

``questions``: 20 questions about a state of about 1,000 tokens. Cupola gets them in one request.
llama-server gets 20 requests for one token each with its log-probabilities, one after the other, so
that a slot has the state cached. Both read the same words. A round has new states, and asks about
each twice, other questions the second time: then both have the state in their caches.

``rerank``: 50 documents of about 100 tokens, by ``--cupola`` with each of ``--rankers``, and by the
embeddings of the server ``--embeddings`` (a llama-server that was started for them).

``flood``: the time between the tokens of 8 chats, alone and beside clients that ask for decisions
without a pause.

The contestants take turns; medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise, repeat
from random import Random
from statistics import median

import httpx2

from cupola.scheduler.protocol.messages import Option, Question, QuestionKind
from cupola.workers.decisions.wording import NO, YES, worded

QUESTIONS = 20
STATE_WORDS, DOCUMENT_WORDS, DOCUMENTS = 980, 98, 50  # about 1,000 tokens, and 100
CHATS, CHAT_TOKENS, FLOODS = 8, 48, 4
WORDS = (
    "parcel street winter garden customer letter machine colour window station teacher market "
    "river paper bridge doctor kitchen summer forest engine picture number village morning"
).split()
ASKED = (
    "The text mentions a {}.",
    "Is the {} broken?",
    "Does somebody want a {} back?",
    "The writer is angry about the {}.",
    "Was the {} late?",
    "Is there more than one {}?",
)
Ask = Callable[[httpx2.Client, str, str, list[str]], None]


def text_of(seed: str, words: int) -> str:
    return " ".join(Random(seed).choices(WORDS, k=words))


def statements(seed: str) -> list[str]:
    everything = [form.format(word) for form in ASKED for word in WORDS]
    return Random(seed).sample(everything, QUESTIONS)


def ask_cupola(http: httpx2.Client, model: str, state: str, asked: list[str]) -> None:
    questions = [{"type": "predicate", "instructions": text} for text in asked]
    body = {"model": model, "input": state, "questions": questions}
    answers = http.post("/v1/decisions", json=body).raise_for_status().json()["answers"]
    assert len(answers) == len(asked)


def ask_llama(http: httpx2.Client, model: str, state: str, asked: list[str]) -> None:
    for text in asked:
        question = Question(QuestionKind.PREDICATE, text)
        told = worded(question, (Option(YES), Option(NO)), None)
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"{state}\n\n{told}"}],
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 20,
            "cache_prompt": True,
        }
        answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
        assert answer["choices"][0]["logprobs"]["content"]


def decisions_per_second(
    url: str, ask: Ask, model: str, clients: int, number: int
) -> tuple[float, float]:
    """Of so many clients, each with a state of its own: a new state, and a known one."""
    states = [text_of(f"round {number} {client}", STATE_WORDS) for client in range(clients)]
    speeds = []
    with httpx2.Client(base_url=url, timeout=600) as http, ThreadPoolExecutor(clients) as threads:
        for time_of in ("first", "second"):
            asked = statements(f"{clients} {number} {time_of}")
            began = time.perf_counter()
            list(threads.map(ask, repeat(http), repeat(model), states, repeat(asked)))
            speeds.append(clients * QUESTIONS / (time.perf_counter() - began))
    return speeds[0], speeds[1]


def compare_questions(given: argparse.Namespace) -> None:
    contestants: dict[str, tuple[str, Ask]] = {"cupola": (given.cupola, ask_cupola)}
    if given.llama:
        contestants["llama-server"] = (given.llama, ask_llama)
    for url, ask in contestants.values():  # a warm-up
        with httpx2.Client(base_url=url, timeout=600) as http:
            ask(http, given.model, text_of("warm-up", 40), statements("warm-up")[:2])
    print("| clients | state | decisions/s: cupola | llama-server | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for clients in map(int, given.clients.split(",")):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for number in range(given.rounds):
            for name, (url, ask) in contestants.items():
                found[name].append(decisions_per_second(url, ask, given.model, clients, number))
        for place, state in enumerate(("new", "known")):
            ours = median(speeds[place] for speeds in found["cupola"])
            line = f"| {clients} | {state} | {ours:.1f} |"
            if given.llama:
                theirs = median(speeds[place] for speeds in found["llama-server"])
                line += f" {theirs:.1f} | {ours / theirs:.2f} |"
            print(line, flush=True)


def compare_rerank(given: argparse.Namespace) -> None:
    def rerank(model: str) -> Callable[[int], None]:
        def ask(number: int) -> None:
            documents = documents_of(number)
            body = {"model": model, "query": query_of(number), "documents": documents}
            answer = httpx2.post(f"{given.cupola}/v1/rerank", json=body, timeout=600)
            assert len(answer.raise_for_status().json()["results"]) == len(documents)

        return ask

    def embed(number: int) -> None:
        texts = [query_of(number), *documents_of(number)]
        body = {"model": given.model, "input": texts}
        answer = httpx2.post(f"{given.embeddings}/v1/embeddings", json=body, timeout=600)
        assert len(answer.raise_for_status().json()["data"]) == len(texts)

    contestants = {f"cupola, {model}": rerank(model) for model in given.rankers.split(",")}
    if given.embeddings:
        contestants["llama-server, embeddings"] = embed
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(given.rounds + 1):
        for name, ask in contestants.items():
            began = time.perf_counter()
            ask(number)
            if number:
                found[name].append(DOCUMENTS / (time.perf_counter() - began))
    print("| ranked by | documents/s |\n| --- | --- |")
    for name, speeds in found.items():
        print(f"| {name} | {median(speeds):.1f} |", flush=True)


def query_of(number: int) -> str:
    return f"Which text is about the {WORDS[number % len(WORDS)]}?"


def documents_of(number: int) -> list[str]:
    count = DOCUMENTS if number else 2  # a warm-up
    return [text_of(f"document {number} {each}", DOCUMENT_WORDS) for each in range(count)]


def gaps_of_chat(url: str, model: str, number: int) -> list[float]:
    """Seconds between the tokens of one chat."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Tell me about the {WORDS[number]}."}],
        "max_tokens": CHAT_TOKENS,
        "ignore_eos": True,
        "stream": True,
    }
    path = f"{url}/v1/chat/completions"
    with httpx2.stream("POST", path, json=body, timeout=600) as answer:
        times = list(times_of_text(answer))
    return [later - earlier for earlier, later in pairwise(times)]


def times_of_text(answer: httpx2.Response) -> Iterator[float]:
    for line in answer.iter_lines():
        if not line.startswith("data: {"):
            continue
        choices = json.loads(line.removeprefix("data: "))["choices"]
        if choices and choices[0]["delta"].get("content"):
            yield time.perf_counter()


def compare_flood(given: argparse.Namespace) -> None:
    print("| 8 chats | ITL p50, ms | ITL p99, ms | decisions/s beside |\n| --- | --- | --- | --- |")
    for beside in (0, FLOODS):
        numbers, done, over = count(), count(), threading.Event()

        def flood(numbers: Iterator[int] = numbers, done: Iterator[int] = done) -> None:
            with httpx2.Client(base_url=given.cupola, timeout=600) as http:
                while not over.is_set():  # noqa: B023 - joined before the next value
                    number = next(numbers)
                    state = text_of(f"flood {number}", STATE_WORDS // 4)
                    ask_cupola(http, given.model, state, statements(f"flood {number}"))
                    next(done)

        floods = [threading.Thread(target=flood) for _ in range(beside)]
        for thread in floods:
            thread.start()
        began = time.perf_counter()
        with ThreadPoolExecutor(CHATS) as threads:
            chats = threads.map(lambda n: gaps_of_chat(given.cupola, given.model, n), range(CHATS))
            gaps = sorted(gap for chat in chats for gap in chat)
        speed = next(done) * QUESTIONS / (time.perf_counter() - began)
        over.set()
        for thread in floods:
            thread.join()
        name = f"beside {beside} clients with decisions" if beside else "alone"
        p50, p99 = median(gaps) * 1e3, gaps[int(len(gaps) * 0.99)] * 1e3
        print(f"| {name} | {p50:.0f} | {p99:.0f} | {speed:.1f} |", flush=True)


WORKS = {"questions": compare_questions, "rerank": compare_rerank, "flood": compare_flood}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cupola", required=True)
    parser.add_argument("--llama", default="")
    parser.add_argument("--embeddings", default="", help="a llama-server with --embeddings")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rankers", default="smollm2-135m,all-minilm-l6-v2")
    parser.add_argument("--works", default="questions")
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for work in given.works.split(","):
        WORKS[work](given)


if __name__ == "__main__":
    main()
