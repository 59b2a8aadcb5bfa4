"""From a generation request to its answer: one path, streamed or whole, for all APIs."""
