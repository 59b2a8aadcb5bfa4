"""Foundry Local's own endpoints, of all its generations."""
