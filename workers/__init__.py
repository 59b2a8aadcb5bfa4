"""Processes that hold models and generate tokens with them."""

import cupola.cache  # noqa: F401  # switches ONNX Runtime's telemetry off before it is imported
