"""How a model gets onto this disk: fetch, convert, install atomically."""
