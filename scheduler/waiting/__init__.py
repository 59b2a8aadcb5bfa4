"""Requests that wait for a worker: in which order, how many, and for how long. Pure."""
