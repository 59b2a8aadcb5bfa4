"""What the scheduler knows: policy, requests, workers, and what it has counted. Pure."""
