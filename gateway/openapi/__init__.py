"""The description of all paths: /openapi.json and /docs.

Every route is made with its description (``described``), so the document cannot lack one.
"""
