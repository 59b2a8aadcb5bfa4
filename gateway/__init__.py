"""The HTTP door, and the supervisor of all processes."""
