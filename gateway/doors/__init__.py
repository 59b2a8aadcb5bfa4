"""Further doors to the same generations: the APIs of Anthropic and of Ollama.

A door turns its bodies into a ``GenerationRequest`` and the events into its own frames; what goes
wrong is raised as everywhere else and told in the door's words by ``dialect``.
"""
