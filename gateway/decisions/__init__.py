"""Typed decisions: OpenAI's POST /v1/decisions and the System One protocol."""
