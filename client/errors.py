"""The one exception of the client for what is expected to go wrong."""

from __future__ import annotations


class ClientError(Exception):
    """What happened in one line, and what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NoAnswerError(ClientError):
    """Something listens where the service should be and does not answer as the service would."""
