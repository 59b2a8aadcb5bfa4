"""The command line and the SDK: speaks only the gateway's HTTP contract."""
