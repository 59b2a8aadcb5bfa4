"""The families of tiny models in ``data``, as onnxruntime-genai's builder makes them."""

FAMILIES = ("qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3", "mistral", "gpt-oss")
LONG_FROM = 64  # tokens that the first of phi3-long's rotary tables serves
