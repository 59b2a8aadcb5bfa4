"""Finds the settings of a service for this machine, model and load."""
