"""Admits, queues, places and routes requests. It knows no model and no HTTP."""
