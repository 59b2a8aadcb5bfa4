"""Tests with Foundry Local's own SDKs, each in an environment of its own."""
