"""OpenAI's API: chat, completions, embeddings, models, and the tokenizer's endpoints."""
