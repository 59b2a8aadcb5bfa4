"""The model catalog, the models on this disk, and how they get there."""

import os

# ONNX Runtime reads this as its library is loaded: it then makes no device id and sends nothing.
# It stands here because every package of Cupola imports this one. Child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
