"""The benchmark: levels of load, targets that take turns, medians with their spread, comparison."""
