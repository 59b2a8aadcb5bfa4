"""Processes that hold models and generate tokens with them."""
