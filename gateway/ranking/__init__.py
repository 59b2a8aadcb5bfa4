"""Ranking documents, scoring pairs of texts and classifying texts, as other servers have them."""
