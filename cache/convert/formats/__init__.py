"""File formats: GGUF and safetensors are read, ONNX external data is written."""
