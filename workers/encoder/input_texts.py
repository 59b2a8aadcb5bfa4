"""From the texts of a request to what an encoder reads: each by itself, or pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cupola.scheduler.protocol.messages import ErrorCode
from cupola.scheduler.protocol.tasks import Embed, Text, Tokens
from cupola.workers.model.backend import RequestError
from cupola.workers.model.render_budget import CancelledError
from cupola.workers.model.text import TextCodec
from cupola.workers.model.text_jobs import Cancelled


@dataclass(frozen=True, slots=True)
class InputText:
    """``second``: how many tokens at the end are those of the second text of a pair."""

    tokens: list[int]
    second: int = 0


class InputTexts:
    """Tokenizes, and refuses what the model cannot read. It may be used from several threads."""

    def __init__(self, codec: TextCodec, context: int, *, pairs: bool) -> None:
        """``pairs``: the model reads pairs of texts, and no single ones."""
        self._codec = codec
        self._context = context
        self._pairs = pairs

    @staticmethod
    def size(work: Embed) -> int:
        """Roughly in characters; an empty text has a size as well."""
        return sum(map(_size, work.texts)) + sum(16 + len(text) for text in work.seconds)

    def read(self, work: Embed, cancelled: Cancelled) -> list[InputText]:
        """Raises RequestError, CancelledError."""
        if self._pairs != bool(work.seconds):
            raise RequestError(ErrorCode.INVALID_REQUEST, _other_use(self._pairs), "model")
        if not work.texts:
            raise RequestError(ErrorCode.INVALID_REQUEST, "there is no text to embed", "texts")
        found = []
        for index, text in enumerate(work.texts):
            if cancelled():
                raise CancelledError
            if work.seconds:
                found.append(self._pair(index, text, work.seconds[index]))
            else:
                found.append(InputText(self._tokens(index, text, work.truncate)))
        return found

    def _pair(self, index: int, first: Text | Tokens, second: str) -> InputText:
        if not isinstance(first, Text):
            text = "a pair has texts, and no tokens"
            raise RequestError(ErrorCode.INVALID_REQUEST, text, "texts")
        fewest = self._codec.fewest_tokens(first.text) + self._codec.fewest_tokens(second)
        self._check_length(index, fewest, "at least ", "the query with text")
        tokens, kinds = self._codec.encode_pair(first.text, second)
        self._check_length(index, len(tokens), "", "the query with text")
        return InputText(tokens, sum(kinds))

    def _tokens(self, index: int, text: Text | Tokens, truncate: bool) -> list[int]:
        if isinstance(text, Text) and not truncate:
            self._check_length(index, self._codec.fewest_tokens(text.text), "at least ")
        if isinstance(text, Text):
            tokens = self._codec.encode(text.text, parse_special=text.parse_special)
        else:
            tokens = self._known(text.ids)
        if not tokens:
            raise RequestError(ErrorCode.INVALID_REQUEST, f"input {index} is empty", "texts")
        if truncate and len(tokens) > self._context:
            # The tokenizer's own tokens at the end, such as [SEP], stay.
            end = tokens[-1:] if isinstance(text, Text) and self._ends else []
            return tokens[: self._context - len(end)] + end
        self._check_length(index, len(tokens))
        return tokens

    def _check_length(
        self, index: int, tokens: int, qualifier: str = "", what: str = "input"
    ) -> None:
        if tokens > self._context:
            ask = "shorten it" if self._pairs else "shorten it, or ask for truncation"
            message = (
                f"{what} {index} has {qualifier}{tokens} tokens, but this model reads "
                f"{self._context} at most; {ask}"
            )
            raise RequestError(ErrorCode.CONTEXT_LENGTH_EXCEEDED, message, "texts")

    @property
    def _ends(self) -> bool:
        """Whether the tokenizer adds a token behind every text."""
        empty = self._codec.encode("")
        return len(empty) > 1

    def _known(self, ids: Sequence[int]) -> list[int]:
        for token in ids:
            if not self._codec.has(token):
                text = f"the model has no token {token}"
                raise RequestError(ErrorCode.INVALID_REQUEST, text, "texts")
        return list(ids)


def _other_use(pairs: bool) -> str:
    if pairs:
        return "this model scores pairs of texts and makes no embeddings: use POST /v1/rerank"
    return "this model makes embeddings and reads no pairs of texts: use POST /v1/embeddings"


def _size(text: Text | Tokens) -> int:
    return 16 + (len(text.text) if isinstance(text, Text) else 4 * len(text.ids))
