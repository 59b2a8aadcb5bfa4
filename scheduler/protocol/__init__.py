"""What processes say to each other: messages, tasks, addresses, the supervisor's commands."""
