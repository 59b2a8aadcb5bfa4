"""The frameworks that are tried, each at the version that docs/clients.md names."""

from __future__ import annotations

FRAMEWORKS = ("langchain-openai==1.7.4", "litellm==1.110.2", "pydantic-ai-slim[openai]==2.38.0")
