"""Grammars that constrain answers: compiled with limits, followed token by token."""
