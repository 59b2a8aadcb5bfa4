"""The machine and the devices on which models run."""
