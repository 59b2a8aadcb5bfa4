"""Measures a converted model: perplexity, KL divergence, speed."""
