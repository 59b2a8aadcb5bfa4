"""Load on a service: what is asked, measuring, simulating capacity, and tuning."""

import cupola.cache  # noqa: F401  # switches ONNX Runtime's telemetry off before it is imported
