"""The HTTP server: every API that the service speaks."""
