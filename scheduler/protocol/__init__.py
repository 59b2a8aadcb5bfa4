"""How the processes talk to each other: messages, tasks, addresses, the supervisor's commands."""
