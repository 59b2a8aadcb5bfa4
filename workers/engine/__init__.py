"""Continuous batching: plan a step, run it, select tokens, send outputs."""
