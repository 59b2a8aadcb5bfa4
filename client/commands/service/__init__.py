"""The commands of the service: start, stop, look at it, change its settings."""
