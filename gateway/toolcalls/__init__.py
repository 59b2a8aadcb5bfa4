"""How models write tool calls and reasoning: the formats, their readers, and their grammars."""
