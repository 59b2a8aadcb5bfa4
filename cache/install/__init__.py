"""How a model gets onto this disk: fetched, converted and put in its place in one step."""
