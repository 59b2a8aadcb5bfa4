"""Tests of the contract of Foundry Local: its endpoints as its own clients read them."""
