"""The bodies of requests to OpenAI's API, as pydantic models."""
