"""Endpoints for the operator: health, metrics, the front page."""
