"""Which worker runs a request, and which workers hold a model. Pure."""
