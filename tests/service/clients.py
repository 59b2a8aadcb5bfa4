"""The frameworks that are tried, each at the version that docs/clients.md names."""

from __future__ import annotations

FRAMEWORKS = ("langchain-openai==1.7.4", "litellm==1.110.2", "pydantic-ai-slim[openai]==2.38.0")

SYSTEM_ONE = ("typesafe-sdk==0.7.5", "hev-rerank==0.1.0", "deqio-client==0.6.5")
SYSTEM_ONE_NPM = "@typesafe-ai/sdk@0.6.0"
