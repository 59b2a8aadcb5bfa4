"""The answers of /v1/rerank, /v1/score and /v1/classify."""

from __future__ import annotations

import time
import uuid
from typing import Literal

import msgspec

from cupola.gateway.generation.decider import Decided
from cupola.gateway.generation.ranker import Ranked


class RankingUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class RankedText(msgspec.Struct, frozen=True):
    text: str


class RerankResult(msgspec.Struct, frozen=True):
    index: int
    relevance_score: float
    document: RankedText | msgspec.UnsetType = msgspec.UNSET


class BilledUnits(msgspec.Struct, frozen=True):
    input_tokens: int


class RerankMeta(msgspec.Struct, frozen=True):
    """What Cohere's clients read."""

    billed_units: BilledUnits


class RerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The best document comes first."""

    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[RerankResult]
    usage: RankingUsage
    meta: RerankMeta


def rerank_answer(
    ranked: Ranked, documents: list[str], top: int | None, texts: bool
) -> RerankAnswer:
    """``texts``: the answer has the documents' texts."""
    scores = ranked.scores
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top]
    results = [
        RerankResult(index, scores[index], RankedText(documents[index]) if texts else msgspec.UNSET)
        for index in order
    ]
    return RerankAnswer(
        id=f"rerank-{uuid.uuid4().hex}",
        model=ranked.model,
        results=results,
        usage=RankingUsage(ranked.tokens, ranked.tokens),
        meta=RerankMeta(BilledUnits(ranked.tokens)),
    )


class PairScore(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PairScore]
    usage: RankingUsage


def score_answer(ranked: Ranked) -> ScoreAnswer:
    return ScoreAnswer(
        id=f"score-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=ranked.model,
        data=[PairScore(index=index, score=score) for index, score in enumerate(ranked.scores)],
        usage=RankingUsage(ranked.tokens, ranked.tokens),
    )


class Classified(msgspec.Struct, frozen=True):
    """``probs``: in the order of the request's ``choices``."""

    index: int
    label: str
    probs: tuple[float, ...]
    num_classes: int


class ClassifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Classified]
    usage: RankingUsage


def classify_answer(decided: Decided, labels: list[str]) -> ClassifyAnswer:
    data = [
        Classified(index, labels[found.best], found.probabilities, len(labels))
        for index, found in enumerate(decided.found)
    ]
    tokens = decided.usage.prompt_tokens
    return ClassifyAnswer(
        id=f"classify-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=decided.model,
        data=data,
        usage=RankingUsage(tokens, tokens),
    )
