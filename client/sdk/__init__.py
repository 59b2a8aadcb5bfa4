"""The SDK: finds or starts the service, and manages its models."""
