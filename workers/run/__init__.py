"""Runs of a model: sessions, runners, packing, and which of several ways is faster."""
