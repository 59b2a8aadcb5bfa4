"""The commands that have a model decide: probabilities for the answers of questions."""
