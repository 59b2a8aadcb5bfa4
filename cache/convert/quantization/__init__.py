"""Rounding of weights: block and channel scales, SmoothQuant, GPTQ, rotations."""
