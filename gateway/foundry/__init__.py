"""Foundry Local's own endpoints, those of all of its generations."""
