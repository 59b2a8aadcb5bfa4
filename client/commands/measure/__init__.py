"""The commands that measure: benchmark, capacity, tuning."""
