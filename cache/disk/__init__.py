"""The room that models take on the disk: who takes it, what may go, and what is damaged."""
