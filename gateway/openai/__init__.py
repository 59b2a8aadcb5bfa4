"""OpenAI's API: chat, completions, embeddings, models; and the Responses API in its own folder."""
