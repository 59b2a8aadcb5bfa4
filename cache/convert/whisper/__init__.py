"""Whispers of CTranslate2, Hugging Face and onnxruntime-genai to our ONNX graphs, without torch."""
