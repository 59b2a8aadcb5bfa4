"""Chat completions with the keys of Foundry Local's first generation, for clients that read them.

Only the ``legacy_keys`` setting asks for them: OpenAI's API has none of them. Each choice has both
``message`` and ``delta``, and each object ``CreatedAt``, ``IsDelta``, ``Successful`` and
``HttpStatusCode``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from cupola.gateway.openai.answers import AnswerMessage, ChatCompletion, Choice
from cupola.gateway.openai.chat_frames import ChatFrames
from cupola.gateway.openai.chunks import ChunkEncoder


class LegacyChoice(Choice, frozen=True, kw_only=True):
    delta: AnswerMessage


class LegacyCompletion(ChatCompletion, frozen=True, kw_only=True):
    created_at: str = msgspec.field(name="CreatedAt")
    is_delta: bool = msgspec.field(name="IsDelta", default=False)
    successful: bool = msgspec.field(name="Successful", default=True)
    http_status_code: int = msgspec.field(name="HttpStatusCode", default=0)


class LegacyChunkEncoder(ChunkEncoder):
    """Chunks whose choices say everything twice, as ``message`` and as ``delta``."""

    def further_fields(self) -> dict[str, Any]:
        return {
            "CreatedAt": _rfc3339(self.created),
            "IsDelta": True,
            "Successful": True,
            "HttpStatusCode": 0,
        }

    def content(self, text: str, index: int = 0) -> bytes:
        return self.delta(index, {"content": text})

    def choice(self, index: int, delta: Any) -> dict[str, Any]:
        return {"message": delta, **super().choice(index, delta)}


class LegacyChatFrames(ChatFrames):
    """See ``ChatFrames``."""

    chunk_encoder = LegacyChunkEncoder

    def completion(self, **fields: Any) -> ChatCompletion:
        choices = tuple(
            LegacyChoice(
                message=choice.message,
                finish_reason=choice.finish_reason,
                index=choice.index,
                logprobs=choice.logprobs,
                delta=choice.message,
            )
            for choice in fields.pop("choices")
        )
        created_at = _rfc3339(fields["created"])
        return LegacyCompletion(**fields, choices=choices, created_at=created_at)


def _rfc3339(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat()
