"""The commands of models: list, fetch, import, load, remove, and the cache."""
