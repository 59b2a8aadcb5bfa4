"""Rewrites of a decoder's ONNX graph, in memory."""
