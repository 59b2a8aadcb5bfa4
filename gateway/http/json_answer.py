"""A value as an answer in JSON."""

from __future__ import annotations

import msgspec
from starlette.background import BackgroundTask
from starlette.responses import Response


def json_answer(
    body: object, status: int = 200, background: BackgroundTask | None = None
) -> Response:
    """``body``: what msgspec can encode. ``background`` runs when the answer has been sent."""
    content = msgspec.json.encode(body)
    return Response(content, status, media_type="application/json", background=background)
