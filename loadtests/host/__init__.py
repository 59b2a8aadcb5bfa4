"""The machine and the services on it: what it is, whether it is busy, services to be measured."""
