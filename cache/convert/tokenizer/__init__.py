"""A Hugging Face tokenizer, rebuilt from a GGUF's metadata."""
