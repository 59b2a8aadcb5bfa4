"""How relevant documents are to queries, and which label fits a text. Knows no API's shapes.

A cross-encoder reads pairs. An embedding model compares vectors. A chat model is asked about each
document or text; all of them are one request for decisions, so they share runs, and what they have
in common is read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from starlette.requests import Request

from cupola.gateway.core.vectors import cosine, number_of
from cupola.gateway.generation.decider import Decided, Decider, DecisionRequest
from cupola.gateway.generation.embedder import Embedder
from cupola.gateway.generation.model_directory import ModelDirectory
from cupola.scheduler.protocol.tasks import Embed, Option, Question, QuestionKind, Text

EMBEDDINGS = "embeddings"  # the task of a model that makes vectors
RANKING = "text-ranking"  # the task of a cross-encoder
_RELEVANT = "Does the document answer the query?"


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """How a model is asked. Only questions have orders, and only they leave something cached."""

    permutations: int | None = None  # None: as the service is set
    cache_salt: str = ""
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """``scores``: of an embedding model the cosines, of other models probabilities."""

    model: str
    scores: Sequence[float]
    tokens: int


class Ranker:
    def __init__(self, decider: Decider, embedder: Embedder, models: ModelDirectory) -> None:
        self._decider = decider
        self._embedder = embedder
        self._models = models

    async def rank(
        self,
        request: Request,
        model: str,
        query: str,
        documents: Sequence[str],
        options: RankingOptions,
    ) -> Ranked:
        """The relevance of each document. ``request``: whose client waits.

        Raises ApiError, RequestFailed.
        """
        task = await self._task(model)
        if task == RANKING:
            pairs = [(query, each) for each in documents]
            return await self._by_pairs(request, model, pairs, options)
        if task == EMBEDDINGS:
            places = [(0, number) for number in range(1, len(documents) + 1)]
            return await self._by_vectors(request, model, [query, *documents], places, options)
        asked = [f"Document: {document}\n\n{_RELEVANT}" for document in documents]
        names = {f"questions[{n}]": f"documents[{n}]" for n in range(len(documents))}
        return await self._by_questions(
            request, model, f"Query: {query}", asked, {"prompt": "query", **names}, options
        )

    async def score(
        self,
        request: Request,
        model: str,
        pairs: Sequence[tuple[str, str]],
        options: RankingOptions,
    ) -> Ranked:
        """The relevance of the second text of each pair to the first. See ``rank``."""
        task = await self._task(model)
        if task == RANKING:
            return await self._by_pairs(request, model, pairs, options)
        if task == EMBEDDINGS:
            texts = list(dict.fromkeys(text for pair in pairs for text in pair))
            place = {text: number for number, text in enumerate(texts)}
            places = [(place[one], place[other]) for one, other in pairs]
            return await self._by_vectors(request, model, texts, places, options)
        asked = [f"Query: {one}\nDocument: {other}\n\n{_RELEVANT}" for one, other in pairs]
        names = {f"questions[{n}]": f"text_2[{n}]" for n in range(len(pairs))}
        return await self._by_questions(request, model, "", asked, names, options)

    async def classify(
        self,
        request: Request,
        model: str,
        texts: Sequence[str],
        labels: Sequence[str],
        options: RankingOptions,
    ) -> Decided:
        """The probabilities of the labels for each text. Raises ApiError, RequestFailed."""
        choices = tuple(map(Option, labels))
        asked = (f"Text: {text}\n\nWhich label fits this text best?" for text in texts)
        questions = tuple(Question(QuestionKind.CHOICE, each, choices) for each in asked)
        names = {f"questions[{n}]": f"input[{n}]" for n in range(len(texts))}
        return await self._decider.decide(request, _wanted(model, "", questions, names, options))

    async def _task(self, model: str) -> str:
        found = await self._models.find(model)
        return (await self._models.cached(found.id)).variant.task

    async def _by_questions(
        self,
        request: Request,
        model: str,
        state: str,
        asked: Sequence[str],
        names: Mapping[str, str],
        options: RankingOptions,
    ) -> Ranked:
        questions = tuple(Question(QuestionKind.PREDICATE, each) for each in asked)
        wanted = _wanted(model, state, questions, names, options)
        decided = await self._decider.decide(request, wanted)
        scores = [found.probabilities[0] for found in decided.found]
        return Ranked(decided.model, scores, decided.usage.prompt_tokens)

    async def _by_pairs(
        self,
        request: Request,
        model: str,
        pairs: Sequence[tuple[str, str]],
        options: RankingOptions,
    ) -> Ranked:
        """The probability that a cross-encoder finds: the sigmoid of its score."""
        firsts = tuple(Text(one, False) for one, _ in pairs)
        task = Embed(firsts, seconds=tuple(other for _, other in pairs))
        found = await self._embedder.embed(request, model, task, options.ttl)
        return Ranked(
            found.model, [_sigmoid(number_of(each)) for each in found.vectors], found.tokens
        )

    async def _by_vectors(
        self,
        request: Request,
        model: str,
        texts: Sequence[str],
        pairs: Sequence[tuple[int, int]],
        options: RankingOptions,
    ) -> Ranked:
        task = Embed(tuple(Text(text, False) for text in texts))
        found = await self._embedder.embed(request, model, task, options.ttl)
        scores = [cosine(found.vectors[one], found.vectors[other]) for one, other in pairs]
        return Ranked(found.model, scores, found.tokens)


def _wanted(
    model: str,
    state: str,
    questions: tuple[Question, ...],
    names: Mapping[str, str],
    options: RankingOptions,
) -> DecisionRequest:
    messages = ({"role": "user", "content": state},)
    orders, salt, ttl = options.permutations, options.cache_salt, options.ttl
    return DecisionRequest(model, messages, questions, orders, salt, ttl, names)


def _sigmoid(score: float) -> float:
    """Between 0 and 1, for every number."""
    small = exp(-abs(score))
    return (1 if score >= 0 else small) / (1 + small)
