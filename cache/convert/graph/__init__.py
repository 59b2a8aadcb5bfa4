"""ONNX graphs, written node by node: decoders out of blocks, and BERT encoders."""
