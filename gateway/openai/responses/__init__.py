"""OpenAI's Responses API: creating, streaming, storing and fetching responses."""
