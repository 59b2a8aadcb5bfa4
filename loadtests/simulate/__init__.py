"""Capacity: a discrete-event simulation of the real scheduler and the real batching decisions."""
