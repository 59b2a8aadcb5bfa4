"""Tests of the service as a whole: real processes, real model, real clients."""
