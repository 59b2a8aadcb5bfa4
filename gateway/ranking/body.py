"""The bodies of /v1/rerank (Cohere's, Jina's and llama-server's), /v1/score and /v1/classify."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from cupola.gateway.core.fields import MAX_INPUTS, MOST_OPTIONS, Count, ScoringRequest
from cupola.gateway.generation.ranker import RankingOptions
from cupola.gateway.http.validation import Body, invalid

Some = Annotated[str, StringConstraints(min_length=1)]


def document_text(document: Any) -> Any:
    """A document is a text, or an object that has one."""
    return document["text"] if isinstance(document, dict) and "text" in document else document


class TextDocument(Body):
    """The other form of a document, for the description of the API."""

    text: str


Document = Annotated[
    Some, BeforeValidator(document_text, json_schema_input_type=str | TextDocument)
]
Documents = Annotated[list[Document], Field(min_length=1, max_length=MAX_INPUTS)]


class RankingRequest(ScoringRequest):
    """What all three have in common."""

    labels: ClassVar[frozenset[str]] = frozenset({"user"})

    user: str | None = None

    @property
    def options(self) -> RankingOptions:
        return RankingOptions(self.permutations, self.cache_salt or "", self.ttl)


class RerankRequest(RankingRequest):
    """``texts`` and ``candidates`` are other names of ``documents``.

    TEI and llama-server have the first, decision servers the second, with ``state`` as the query.
    """

    labels: ClassVar[frozenset[str]] = frozenset({"max_tokens_per_doc", "raw_scores", "user"})

    query: Document | None = None
    state: Document | None = None
    documents: Documents | None = None
    texts: Documents | None = None
    candidates: Documents | None = None
    top_n: Count | None = None
    return_documents: bool | None = None
    return_text: bool | None = None
    max_tokens_per_doc: Count | None = None
    raw_scores: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> RerankRequest:
        if sum(given is not None for given in (self.documents, self.texts, self.candidates)) != 1:
            raise invalid("Give 'documents', the texts to rank", "documents")
        if (self.query is None) == (self.state is None):
            raise invalid("Give 'query', what the documents are ranked for", "query")
        return self

    @property
    def sought(self) -> str:
        """What the documents are ranked for."""
        return self.query or self.state or ""

    @property
    def ranked(self) -> list[str]:
        return self.documents or self.texts or self.candidates or []

    @property
    def wants_documents(self) -> bool:
        return bool(self.return_documents or self.return_text)


def as_texts(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


Texts = Annotated[
    list[Some],
    BeforeValidator(as_texts, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=MAX_INPUTS),
]


class ScoreRequest(RankingRequest):
    """One text against several, or two lists of the same length, pair by pair."""

    text_1: Texts
    text_2: Texts

    @model_validator(mode="after")
    def _pairs(self) -> ScoreRequest:
        if len(self.text_1) not in (1, len(self.text_2)):
            message = "'text_1' is one text, or has as many texts as 'text_2'"
            raise invalid(message, "text_1")
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        first = self.text_1 * len(self.text_2) if len(self.text_1) == 1 else self.text_1
        return list(zip(first, self.text_2, strict=True))


class ClassifyRequest(RankingRequest):
    """``choices`` are the classes: a chat model has none of its own."""

    input: Texts
    choices: Annotated[list[Some], Field(min_length=2, max_length=MOST_OPTIONS)]

    @model_validator(mode="after")
    def _unique(self) -> ClassifyRequest:
        if len(set(self.choices)) < len(self.choices):
            raise invalid("The choices must differ", "choices")
        return self
