"""Which tokens of which sequences a step runs, and how many of them. Pure."""
