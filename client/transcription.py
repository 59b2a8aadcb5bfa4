"""Sends a recording to the service and gets its text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from cupola.client.errors import ClientError
from cupola.client.running_service import RunningService, failure


def transcript(
    service: RunningService, path: Path, fields: Mapping[str, str], *, translate: bool = False
) -> tuple[str, str]:
    """The answer, and how long it took in words. Empty ``fields`` are not sent.

    Raises ClientError.
    """
    import httpx2

    address = f"{service.url}/v1/audio/{'translations' if translate else 'transcriptions'}"
    sent = {name: value for name, value in fields.items() if value}
    if translate:
        sent.pop("language", None)
    began = time.perf_counter()
    try:
        with path.open("rb") as file:
            answer = httpx2.post(
                address, data=sent, files={"file": (path.name, file)}, timeout=None
            )
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror}") from error
    except httpx2.HTTPError as error:
        raise ClientError(f"The service at {service.url} does not answer: {error}") from error
    if answer.status_code != 200:
        raise ClientError(f"{path.name}: {failure(answer.status_code, answer.content)}")
    return answer.text, f"{time.perf_counter() - began:.1f} s"
