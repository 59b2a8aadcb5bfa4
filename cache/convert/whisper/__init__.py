"""Whisper models of CTranslate2 and Hugging Face to ONNX graphs, without torch."""
