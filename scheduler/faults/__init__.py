"""Who ends workers: suspects run apart, and the guilty are left alone for a while. Pure."""
