"""The requests that end their workers, known again by a digest of their content. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cupola.scheduler.protocol.messages import Submit

MAX_DEATHS = 2  # of workers that ran nothing else: one may be an accident
QUARANTINE_SECONDS = 600.0
MAX_REQUESTS = 256  # remembered at once; the one that did it first is forgotten first


@dataclass(frozen=True, slots=True)
class Deaths:
    """How many workers a request has ended, and until when that is remembered."""

    count: int
    until: float


class RequestQuarantine:
    def __init__(self) -> None:
        self._deaths: dict[bytes, Deaths] = {}  # by digest, in the order of the last death

    def __len__(self) -> int:
        return len(self._deaths)

    def ended_worker(self, message: Submit, now: float) -> None:
        """A worker has died that ran this request and no other."""
        self._deaths = {key: deaths for key, deaths in self._deaths.items() if deaths.until > now}
        key = digest(message)
        before = self._deaths.pop(key, None)
        count = (before.count if before else 0) + 1
        self._deaths[key] = Deaths(count, now + QUARANTINE_SECONDS)
        if len(self._deaths) > MAX_REQUESTS:
            del self._deaths[next(iter(self._deaths))]

    def refusal(self, message: Submit, now: float) -> str | None:
        """Why the request is not run; None: it may run."""
        if not self._deaths:  # a digest of a large request takes milliseconds
            return None
        deaths = self._deaths.get(digest(message))
        if deaths is None or deaths.count < MAX_DEATHS or deaths.until <= now:
            return None
        return (
            f"this request has ended {deaths.count} workers, which ran nothing else; it is not run "
            f"again for {deaths.until - now:.0f} s; change it, and report it with the log"
        )


def digest(message: Submit) -> bytes:
    """The same for requests of the same content for the same model, whoever sends them."""
    known = hashlib.blake2b(message.model.id.encode(), digest_size=16)
    known.update(b"\0")
    known.update(bytes(message.work))
    return known.digest()
