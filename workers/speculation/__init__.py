"""Speculation without a second model: draft tokens from text that was read or written before."""
