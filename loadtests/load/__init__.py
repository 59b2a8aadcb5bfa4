"""What is asked of a server, how its answers are read, and what is recorded of them."""
