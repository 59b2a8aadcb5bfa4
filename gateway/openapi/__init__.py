"""What the service says of its own addresses: /openapi.json and /docs.

Every route is made with its description (``described``), so the document cannot lack one.
"""
