"""The relevance of 50 documents of 100 tokens, and a llama-server's embeddings of the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import httpx2

from cupola.loadtests.decisions.contestants import Cupola, Llama
from cupola.loadtests.decisions.texts import DOCUMENTS, documents_of, query_of

EMBEDS = ("--embeddings", "--pooling", "mean", "-ub", "2048", "-b", "2048")


def compare(ours: Cupola, embedder: Llama, rankers: Sequence[str], rounds: int) -> None:
    def ranked(http: httpx2.Client, model: str, number: int) -> None:
        body = {"model": model, "query": query_of(number), "documents": _documents(number)}
        results = http.post("/v1/rerank", json=body).raise_for_status().json()["results"]
        assert len(results) == len(body["documents"])

    def embedded(http: httpx2.Client, model: str, number: int) -> None:
        body = {"model": model, "input": [query_of(number), *_documents(number)]}
        vectors = http.post("/v1/embeddings", json=body).raise_for_status().json()["data"]
        assert len(vectors) == len(body["input"])

    work: list[tuple[str, Cupola | Llama, Callable[[httpx2.Client, str, int], None], str]]
    work = [(f"{ours.name}, {model}", ours, ranked, model) for model in rankers]
    work.append((f"{embedder.name}, embeddings of the chat model", embedder, embedded, ""))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in work}
    for number in range(rounds + 1):
        for name, server, ask, model in work:
            with server.client() as http:
                began, used = time.perf_counter(), server.cpu_seconds()
                ask(http, model, number)
                seconds, cpu = time.perf_counter() - began, server.cpu_seconds() - used
            if number:  # the first one is a warm-up
                found[name].append((DOCUMENTS / seconds, 1e3 * cpu / DOCUMENTS))
    print("| ranked by | documents/s | CPU ms a document |\n|---|---|---|")
    for name, speeds in found.items():
        rate, cpu = (median(values) for values in zip(*speeds, strict=True))
        print(f"| {name} | {rate:.1f} | {cpu:.0f} |", flush=True)


def _documents(number: int) -> list[str]:
    return documents_of(number) if number else documents_of(0, 2)
