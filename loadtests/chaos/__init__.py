"""A service under mixed load, with kills, floods and aborts, and an account at the end."""
