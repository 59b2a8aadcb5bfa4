"""What can be set about a service, and where the values come from."""
