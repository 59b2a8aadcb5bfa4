"""The model catalog, the models on this disk, and how they get there."""
