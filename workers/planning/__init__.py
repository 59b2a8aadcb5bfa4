"""How many sequences run at once, and which of their tokens a step runs. Pure."""
