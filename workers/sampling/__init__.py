"""From logits to tokens: penalties, masks, sampling, log probabilities."""
