"""Files on servers: what the hub offers, and downloads that go on where they ended."""
