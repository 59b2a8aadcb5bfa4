"""What the service writes: its log, and what it tells its user."""
