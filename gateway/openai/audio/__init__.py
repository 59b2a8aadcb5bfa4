"""OpenAI's endpoints for speech: transcriptions and translations."""
