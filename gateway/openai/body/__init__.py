"""The bodies of the HTTP API: requests as pydantic models, answers as msgspec structs.

The names and shapes are OpenAI's. Clients may import these modules: they need no server parts.
"""
