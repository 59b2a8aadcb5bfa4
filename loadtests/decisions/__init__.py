"""Decisions and ranking against llama-server, chat beside them, and how right they are."""
