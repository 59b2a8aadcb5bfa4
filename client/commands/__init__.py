"""The command line: ``main`` lists all commands, and ``cupola X`` is in ``X_command``."""
