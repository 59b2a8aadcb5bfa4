"""The errors of the client, in one tree.

ClientError
├── NoAnswerError            something listens where the service should be, and does not answer
├── NotRunningError          there is no service; also a RuntimeError
├── UnreachableError         the service does not answer any more; a ConnectionError
├── ResponseError            the service refused; ``status`` is the HTTP status; a RuntimeError
├── RecordingError           a recording cannot be transcribed; another one may be
├── DownloadError            a model could not be fetched; also a RuntimeError
├── ModelNotFoundError       no model of the catalog has this name; also a ValueError
└── ModelNotDownloadedError  the model has to be downloaded first; also a ValueError

The second base classes are what Foundry Local's SDK raises in the same places.
"""

from __future__ import annotations


class ClientError(Exception):
    """What happened in one line, and what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NoAnswerError(ClientError):
    """Something listens where the service should be and does not answer as the service would."""


class NotRunningError(ClientError, RuntimeError):
    """No service runs, or this manager has not looked for it."""


class UnreachableError(ClientError, ConnectionError):
    """The service cannot be reached at the address where it was."""


class ResponseError(ClientError, RuntimeError):
    """The service answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RecordingError(ClientError):
    """A recording cannot be read or transcribed. Another one may be."""


class DownloadError(ClientError, RuntimeError):
    """A model could not be downloaded."""


class ModelNotFoundError(ClientError, ValueError):
    """No model has this alias or id."""


class ModelNotDownloadedError(ClientError, ValueError):
    """A model that is not on this disk cannot be loaded."""
