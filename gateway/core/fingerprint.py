"""The system fingerprint of answers: another one may give other answers to the same seed."""

from __future__ import annotations

from importlib.metadata import version

FINGERPRINT = f"cupola-{version('cupola')}"
