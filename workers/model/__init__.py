"""A model as a worker sees it: its folder, its tokenizer and chat template, what runs it."""
