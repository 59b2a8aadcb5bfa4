"""Who asks, by which key, and what that allows."""
