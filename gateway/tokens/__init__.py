"""The tokenizer's endpoints, as llama-server and vLLM have them."""
