"""Find the sentence that fits a question best, by meaning: embeddings and their dot products."""

import sys

from openai import OpenAI

from cupola.client import FoundryLocalManager

name = sys.argv[1] if len(sys.argv) > 1 else "all-minilm-l6-v2"
manager = FoundryLocalManager(name)
client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)

sentences = [
    "The ferry leaves at nine in the morning.",
    "Bread is baked from flour, water, salt and yeast.",
    "Our office is closed on public holidays.",
]
question = "How do I make a loaf?"
answer = client.embeddings.create(model=name, input=[question, *sentences])
asked, *known = [item.embedding for item in answer.data]
fits = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in known]
print(sentences[fits.index(max(fits))])
