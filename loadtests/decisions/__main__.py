"""Decisions, ranking, and chat beside a flood of decisions, against llama-server.

    CUPOLA_PEERS=FOLDER python -m loadtests.decisions --home ~/.foundry
    CUPOLA_PEERS=FOLDER python -m loadtests.decisions --home ~/.foundry --works flood --rounds 14

Starts a service with the models of the home, and llama-server with 16 slots; docs/performance.md
says what the folder of peers needs, docs/measurements/decisions.md has figures.

    questions  20 questions about a state of 1,000 tokens. Cupola gets them in one request, and
               llama-server in 20 for one token each with its log-probabilities, in the same words.
               Each state is asked about twice, with other questions the second time: new and known.
    rerank     50 documents of 100 tokens, by each of ``--rankers``; llama-server makes vectors
    flood      the time between the tokens of 8 chats, alone and beside 4 clients with decisions
    bound      the model alone, in this process

The contestants take turns. Printed are medians of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from cupola.cache.home import Home
from cupola.cache.store import ModelCache
from cupola.loadtests.decisions import bound, flood, questions, rerank
from cupola.loadtests.decisions.contestants import cupola, llama
from cupola.loadtests.host.machine import cores

WORKS = ("questions", "rerank", "flood", "bound")


def main() -> None:
    given = _arguments()
    works = given.works.split(",")
    with tempfile.TemporaryDirectory() as made:
        logs = Path(made)
        if {"questions", "rerank", "flood"} & set(works):
            with cupola(given.home, logs, given.model) as ours:
                if "questions" in works:
                    with llama() as theirs:
                        clients = [int(each) for each in given.clients.split(",")]
                        questions.compare(ours, theirs, clients, given.rounds)
                if "rerank" in works:
                    with llama(*rerank.EMBEDS) as embedder:
                        rerank.compare(ours, embedder, given.rankers.split(","), given.rounds)
                if "flood" in works:
                    flood.compare(ours, given.rounds, given.objective)
    if "bound" in works:
        home = Home(given.home)
        bound.show(home, ModelCache(home).find(given.model).path, cores(), given.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="a data folder with the models")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rankers", default="smollm2-135m,all-minilm-l6-v2")
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--objective", type=float, default=100, help="itl_ms of the service")
    return parser.parse_args()


if __name__ == "__main__":
    main()
