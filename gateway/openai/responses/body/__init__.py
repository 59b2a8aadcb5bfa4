"""The body of POST /v1/responses: its fields, its input and its tools."""
