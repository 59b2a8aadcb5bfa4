"""GGUF and safetensors in, an ONNX model folder out, without torch."""
