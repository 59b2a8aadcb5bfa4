"""Questions with a closed set of answers: their wording, their tokens, and their scores."""
