"""Load as users make it: scenarios for locust. These files need the extra ``loadtest``."""
