"""What gateway, scheduler and a worker's loop cost beside a bare server; without a model."""
