"""Measures what a conversion made: perplexity, KL divergence, speed."""
