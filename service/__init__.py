"""The composition root: settings, the supervisor and its child processes, the port, the log."""
