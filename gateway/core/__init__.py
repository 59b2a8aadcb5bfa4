"""What all APIs share: a generation request, its events, and the way to the scheduler."""
