"""Tests of the load tests, against servers that answer as a test wants it."""
