"""How formats of models write tool calls and reasoning, and how that is read."""
