"""JSON Schemas of answers and of tools, as clients really write them."""
