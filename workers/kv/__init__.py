"""The memory of keys and values."""
