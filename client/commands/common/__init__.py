"""What several commands share: options, completion, filters, the way to a running service."""
