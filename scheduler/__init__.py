"""Admits, queues, places and routes requests; knows no model and no HTTP."""
