"""The slots of the KV cache, and what ended sequences leave there, in memory and on the disk."""
